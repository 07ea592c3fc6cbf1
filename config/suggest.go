package config

import (
	"cmp"
	"slices"
	"strings"

	"gatehouse/internal/nearest"
)

func sectionNames() []string {
	var names []string
	for _, s := range sections {
		names = append(names, s.name)
	}
	return names
}

func suggest(want string, have []string) string {
	return cmp.Or(didYouMean(want, have), "; there are "+strings.Join(have, ", "))
}

// didYouMean names what comes near to what was written; nothing where nothing does.
func didYouMean(want string, have []string) string {
	if near := nearest.Names(want, have, 1); len(near) > 0 {
		return "; did you mean " + near[0] + "?"
	}
	return ""
}

// suggestKey names the setting of whatever section that key may mean.
func suggestKey(key string) string {
	var keys, names []string
	for _, sec := range sections {
		for _, s := range sec.settings {
			keys, names = append(keys, s.key), append(names, s.name())
		}
	}
	if near := nearest.Names(key, keys, 1); len(near) > 0 {
		return "; did you mean " + names[slices.Index(keys, near[0])] + "?"
	}
	return ""
}

// suggestIn looks in the section first: its settings are what the writer had in mind.
func suggestIn(sec *section, key string) string {
	var keys []string
	for _, s := range sec.settings {
		keys = append(keys, s.key)
	}
	return cmp.Or(didYouMean(key, keys), suggestKey(key), "; it has "+strings.Join(keys, ", "))
}
