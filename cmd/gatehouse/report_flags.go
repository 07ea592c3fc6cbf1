package main

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"gatehouse/query"
)

// flagWords are what the API's parameters are called, and how it writes them, in the words of the command line.
var flagWords = strings.NewReplacer(
	"from=2025-05-01&to=2025-06-01", "--from 2025-05-01 --to 2025-06-01",
	"in the forms of from", "in the forms of --from",
	"burst_window", "--burst-window",
	"next_cursor leads to the rest", "a cursor leads to the rest",
	"The next_cursor of the page before, with the same other parameters", "go on behind the last page: the cursor that it ended with, with the same other flags",
)

// flagHelp is what a report's flag means: the meaning of the API's parameter, in the form of a flag's help.
func flagHelp(parameter string) string {
	text := strings.TrimSuffix(flagWords.Replace(query.ParameterHelp(parameter)), ".")
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToLower(first)) + text[size:]
}
