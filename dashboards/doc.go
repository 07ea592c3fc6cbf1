// Package dashboards is what a browser gets: a page that shows reports, and the pages by which people sign in and look after their account.
//
// The page of reports is static. It asks the HTTP API as every other client does, with the session of whoever is signed in or with a key that
// the analyst pastes, so that no right of its own stands behind it and nothing of a company is ever rendered on the server. Its parameters come
// from the API's OpenAPI description: a new report or parameter needs no change here.
//
// The other pages are rendered here, from templates that know nothing but what is shown, and work without scripts but for passkeys.
//
// Left to others: the reports themselves (query), sessions and what protects forms (authsvc/rest), passwords and second factors (authsvc/signin), and
// who may do what (authsvc).
package dashboards
