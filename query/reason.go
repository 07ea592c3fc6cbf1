package query

import "fmt"

// Reason is why a sign-in failed, as a word to group by and as words to read.
type Reason struct {
	Key  string // stable, for programs
	Text string // for people
}

// Reasons that several codes share.
var (
	reasonNone            = Reason{"not_given", "no reason was given"}
	reasonNoSuchUser      = Reason{"no_such_user", "there is no such user"}
	reasonWrongPassword   = Reason{"wrong_password", "wrong password"}
	reasonPasswordExpired = Reason{"password_expired", "the password has expired"}
	reasonDisabled        = Reason{"account_disabled", "the account is disabled"}
	reasonClockSkew       = Reason{"clock_skew", "the clocks of computer and domain controller differ too much"}
	reasonWorkstation     = Reason{"workstation_not_allowed", "the user may not sign in at this computer"}
	reasonHours           = Reason{"outside_hours", "outside the hours in which the account may sign in"}
	reasonLogonType       = Reason{"logon_type_not_granted", "the user lacks the right to this kind of sign-in"}
)

// ntReasons are NTSTATUS codes of events 4625 and 4776 (Microsoft's reference of
// those events, and [MS-ERREF] for the rest).
var ntReasons = map[uint32]Reason{
	0xC0000022: {"access_denied", "access was denied"},
	0xC000005E: {"no_logon_servers", "no server could check the sign-in"},
	0xC0000064: reasonNoSuchUser,
	0xC000006A: reasonWrongPassword,
	0xC000006B: {"malformed_password", "the password is not well-formed"},
	0xC000006C: {"password_restriction", "the password does not meet the rules for passwords"},
	0xC000006D: {"bad_credentials", "bad user name or password"},
	0xC000006E: {"account_restriction", "a restriction of the account forbade it"},
	0xC000006F: reasonHours,
	0xC0000070: reasonWorkstation,
	0xC0000071: reasonPasswordExpired,
	0xC0000072: reasonDisabled,
	0xC000009A: {"out_of_resources", "the computer was out of resources"},
	0xC00000DC: {"sam_wrong_state", "the account database was in the wrong state"},
	0xC00000DF: {"no_such_domain", "there is no such domain"},
	0xC000010B: {"invalid_logon_type", "this kind of sign-in does not exist"},
	0xC0000133: reasonClockSkew,
	0xC000015B: reasonLogonType,
	0xC000018B: {"no_computer_account", "the domain has no account for this computer"},
	0xC000018C: {"trust_failure", "the trust between the domains failed"},
	0xC000018D: {"trust_failure", "the trust between the domains failed"},
	0xC0000192: {"netlogon_not_started", "the Netlogon service was not running"},
	0xC0000193: {"account_expired", "the account has expired"},
	0xC0000198: {"trust_account", "the account is for a trust or a computer, not for signing in"},
	0xC0000199: {"trust_account", "the account is for a trust or a computer, not for signing in"},
	0xC000019A: {"trust_account", "the account is for a trust or a computer, not for signing in"},
	0xC0000224: {"must_change_password", "the password must be changed first"},
	0xC0000225: {"windows_bug", "an internal error of Windows, not a risk"},
	0xC0000233: {"no_domain_controller", "no domain controller was found"},
	0xC0000234: {"locked_out", "the account is locked out"},
	0xC00002EE: {"error_during_logon", "an error occurred during the sign-in"},
	0xC0000371: {"no_local_secret", "the local secret of the account is missing"},
	0xC0000380: {"wrong_pin", "wrong PIN of a smart card"},
	0xC0000388: {"downgrade_detected", "a possible attack on the security of the sign-in was detected"},
	0xC0000413: {"authentication_firewall", "an authentication policy (selective authentication) forbade it"},
	0xC0000418: {"ntlm_blocked", "NTLM is blocked"},
}

// kerberosReasons are result codes of events 4768, 4769 and 4771 (RFC 4120, 7.5.9).
var kerberosReasons = map[uint32]Reason{
	0x06: reasonNoSuchUser,
	0x07: {"no_such_service", "there is no such service"},
	0x09: {"no_key", "the account has no key"},
	0x0C: {"policy", "a policy forbade it (workstation or hours)"},
	0x0E: {"encryption_not_supported", "the kind of encryption is not supported"},
	0x10: {"smart_card", "the smart card or its certificate was not accepted"},
	0x12: {"account_revoked", "the account is disabled, locked out or expired"},
	0x17: reasonPasswordExpired,
	0x18: reasonWrongPassword,
	0x19: {"preauthentication_needed", "more proof of identity was asked for"},
	0x1B: {"must_use_user2user", "the service takes no such ticket"},
	0x1F: {"ticket_modified", "the ticket was changed or its key is wrong"},
	0x20: {"ticket_expired", "the ticket has expired"},
	0x25: reasonClockSkew,
	0x29: {"ticket_modified", "the ticket was changed or its key is wrong"},
	0x3C: {"generic", "an error that Kerberos does not name"},
}

// maxKerberosCode is the greatest result code of Kerberos; NTSTATUS codes of
// failures begin at 0xC0000000, so a number alone tells the two apart.
const maxKerberosCode = 0xFF

// ReasonFor puts a failure's codes into words: the sub-status unless it is 0,
// else the status.
func ReasonFor(status, subStatus uint32) Reason { return reasonOf(failureCode(status, subStatus)) }

// failureCode is the one code that a failure's reason follows from.
func failureCode(status, subStatus uint32) uint32 {
	if subStatus != 0 {
		return subStatus
	}
	return status
}

func reasonOf(code uint32) Reason {
	if code == 0 {
		return reasonNone
	}
	table := ntReasons
	if code <= maxKerberosCode {
		table = kerberosReasons
	}
	if r, ok := table[code]; ok {
		return r
	}
	name := codeText(code)
	return Reason{"code_" + name, "a reason that has no name here (code " + name + ")"}
}

// codeText writes a code as Windows' tools do.
func codeText(code uint32) string {
	if code <= maxKerberosCode {
		return fmt.Sprintf("0x%X", code)
	}
	return fmt.Sprintf("0x%08X", code)
}
