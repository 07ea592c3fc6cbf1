// Passkeys: the one thing on the pages for signing in that a browser cannot do without a script. What it asks the server for are the API's
// routes; what comes from there is inserted as text only.
"use strict";

(() => {
  const $ = (id) => document.getElementById(id);
  if (!window.PublicKeyCredential || !navigator.credentials) return; // the parts stay hidden

  // WebAuthn speaks in bytes, JSON in base64url.
  const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");

  function optionsOf(answer) {
    const o = answer.publicKey;
    o.challenge = bytes(o.challenge);
    if (o.user) o.user.id = bytes(o.user.id);
    for (const list of [o.allowCredentials, o.excludeCredentials]) for (const c of list || []) c.id = bytes(c.id);
    return { publicKey: o };
  }

  function jsonOf(credential) {
    const from = credential.response;
    const response = { clientDataJSON: text(from.clientDataJSON) };
    for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) if (from[name]) response[name] = text(from[name]);
    if (from.getTransports) response.transports = from.getTransports();
    return { id: credential.id, rawId: text(credential.rawId), type: credential.type, response, clientExtensionResults: credential.getClientExtensionResults() };
  }

  async function post(part, path, body) {
    let response;
    try {
      response = await fetch(part.dataset.base + path, {
        method: "POST", headers: { "Content-Type": "application/json", "X-CSRF-Token": part.dataset.csrf }, body: JSON.stringify(body), cache: "no-store", redirect: "error",
      });
    } catch {
      throw new Error("The server does not answer. Check the connection and try again.");
    }
    let answer = null;
    try { answer = await response.json(); } catch { /* a proxy's page */ }
    if (!response.ok) throw new Error(answer && answer.message ? sentence(answer.message) : "The server answered with status " + response.status + ".");
    return answer;
  }

  const sentence = (s) => s.charAt(0).toUpperCase() + s.slice(1) + (/[.!?]$/.test(s) ? "" : ".");

  function tell(err) {
    const cancelled = err.name === "NotAllowedError" || err.name === "AbortError";
    const known = err.name === "InvalidStateError";
    $("passkey-problem").textContent = cancelled ? "Nothing was done: the passkey did not answer, or you stopped it. Try again." : known ? "This passkey is registered already." : err.message;
    $("passkey-problem").hidden = false;
  }

  async function busy(button, act) {
    $("passkey-problem").hidden = true;
    button.disabled = true;
    try { return await act(); } catch (err) { tell(err); } finally { button.disabled = false; }
    const code = $("passkey-code"); // which counts once
    if (code) code.value = "";
    (code || button).focus();
  }

  const use = $("use-passkey");
  if (use) {
    use.hidden = false;
    $("passkey-use").addEventListener("click", () => busy($("passkey-use"), async () => {
      const options = optionsOf(await post(use, "/api/v1/auth/passkey", {}));
      const credential = await navigator.credentials.get(options);
      await post(use, "/api/v1/auth/second-factor", { assertion: jsonOf(credential) });
      location.assign(use.dataset.base + "/login"); // which knows what is next
    }));
  }

  const add = $("add-passkey");
  if (add) {
    add.hidden = false;
    $("passkey-form").addEventListener("submit", (e) => {
      e.preventDefault();
      busy(e.submitter || $("passkey-form").querySelector("button"), async () => {
        const confirm = {};
        if ($("passkey-password")) confirm.password = $("passkey-password").value;
        if ($("passkey-code")) confirm.code = $("passkey-code").value;
        const options = optionsOf(await post(add, "/api/v1/me/passkeys/begin", confirm));
        const credential = await navigator.credentials.create(options);
        const made = await post(add, "/api/v1/me/passkeys", { name: $("passkey-name").value, credential: jsonOf(credential) });
        if (!made.recovery_codes || !made.recovery_codes.length) return location.assign(add.dataset.next);
        $("passkey-codes-list").replaceChildren(...made.recovery_codes.map((code) => {
          const item = document.createElement("li");
          item.append(Object.assign(document.createElement("code"), { textContent: code }));
          return item;
        }));
        $("passkey-next").href = add.dataset.next;
        $("passkey-form").hidden = true;
        $("passkey-codes").hidden = false;
        $("passkey-codes").focus();
      });
    });
  }
})();
