package soak

import (
	"math/big"
	"regexp"
	"strings"

	"gatehouse/event"
)

// This file reads times, numbers and types a second time, by other means than package
// event does: a bad value must not be taken, and a sound one must be read as it reads it. Of the many kinder forms it says nothing.

// judgement is what the second reader says of a value.
type judgement int

const (
	unjudged judgement = iota // it does not judge this form
	soundValue
	badValue
)

var (
	rfc3339Form = regexp.MustCompile(`^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:Z|([+-])(\d\d):(\d\d))$`)
	digitsForm  = regexp.MustCompile(`^[0-9]+$`)
	hexForm     = regexp.MustCompile(`^0[xX][0-9a-fA-F]+$`)
	mayBeNumber = regexp.MustCompile(`^[0-9a-zA-Z+_\s%-]*$`) // else it is none in any form
)

var monthDays = [...]int{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

func leapYear(y int) bool { return y%4 == 0 && (y%100 != 0 || y%400 == 0) }

// secondTime reads RFC 3339, counting the days from 1970 one month after the other.
func secondTime(text string) (int64, judgement) {
	m := rfc3339Form.FindStringSubmatch(text)
	if m == nil {
		return 0, unjudged
	}
	number := func(s string) (n int) {
		for _, c := range s {
			n = n*10 + int(c-'0')
		}
		return n
	}
	year, month, day := number(m[1]), number(m[2]), number(m[3])
	hour, minute, second := number(m[4]), number(m[5]), number(m[6])
	if year < 1970 || second == 60 || number(m[9]) > 23 || number(m[10]) > 59 {
		return 0, unjudged
	}
	if month < 1 || month > 12 || hour > 23 || minute > 59 || second > 60 {
		return 0, badValue
	}
	daysOf := func(y, mon int) int {
		if mon == 2 && leapYear(y) {
			return 29
		}
		return monthDays[mon-1]
	}
	if day < 1 || day > daysOf(year, month) {
		return 0, badValue
	}
	days := day - 1
	for y := 1970; y < year; y++ {
		days += 365
		if leapYear(y) {
			days++
		}
	}
	for mon := 1; mon < month; mon++ {
		days += daysOf(year, mon)
	}
	offset := (number(m[9])*60 + number(m[10])) * 60
	if m[8] == "-" {
		offset = -offset
	}
	seconds := int64(days)*86400 + int64(hour*3600+minute*60+second-offset)
	return seconds*1000 + int64(number((m[7] + "000")[:3])), soundValue
}

// numberLimits are the largest values of the fields that are numbers.
var numberLimits = map[event.FieldID]string{
	event.FieldLogonID: "18446744073709551615", event.FieldLinkedLogonID: "18446744073709551615", event.FieldRecordID: "18446744073709551615",
	event.FieldRetry: "18446744073709551615", event.FieldLogonType: "254", event.FieldStatus: "4294967295", event.FieldSubStatus: "4294967295", event.FieldEventID: "65535",
}

// secondNumber judges the value of a number field.
func secondNumber(field event.FieldID, text string) judgement {
	text = strings.TrimSpace(text)
	digits, base := text, 10
	switch {
	case digitsForm.MatchString(text):
	case hexForm.MatchString(text):
		digits, base = text[2:], 16
	case !mayBeNumber.MatchString(text):
		return badValue
	default:
		return unjudged
	}
	n, ok := new(big.Int).SetString(digits, base)
	limit, known := new(big.Int).SetString(numberLimits[field], 10)
	if !ok || !known {
		return unjudged
	}
	if n.Cmp(limit) > 0 {
		return badValue
	}
	return soundValue
}

// documentedTypes are the names of types that the contract promises.
var documentedTypes = map[string]event.Type{
	"Logon": event.Logon, "Login": event.Logon, "SignIn": event.Logon, "Sign-In": event.Logon, "Logoff": event.Logoff, "Logout": event.Logoff, "SignOut": event.Logoff,
	"Lock": event.Lock, "Unlock": event.Unlock, "Disconnect": event.Disconnect, "Reconnect": event.Reconnect, "LogonFailed": event.LogonFailed, "Lockout": event.Lockout,
	"Startup": event.Startup, "Shutdown": event.Shutdown,
}

// secondType judges the name of a type. No type's name has anything but letters in it, and what joins words.
func secondType(text string) (event.Type, judgement) {
	if t, ok := documentedTypes[text]; ok {
		return t, soundValue
	}
	for _, c := range strings.TrimSpace(text) {
		if letter := (c|0x20) >= 'a' && (c|0x20) <= 'z'; !letter && !strings.ContainsRune(" -_", c) {
			return 0, badValue
		}
	}
	return 0, unjudged
}

// secondReading holds a reading of package event to the second reader: the event as it must
// be, and whether it may be one at all.
func secondReading(f *event.Fields, e event.Event, valid bool) (event.Event, bool) {
	if text := string(f[event.FieldTimestamp]); text != "" {
		ms, v := secondTime(text)
		if v == soundValue {
			e.Time = ms
		}
		valid = valid && v != badValue
	}
	if text := string(f[event.FieldEventType]); text != "" {
		_, v := secondType(text)
		valid = valid && v != badValue
	}
	for field := range numberLimits {
		if text := string(f[field]); strings.TrimSpace(text) != "" && secondNumber(field, text) == badValue {
			valid = false
		}
	}
	return e, valid
}
