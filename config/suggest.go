package config

import (
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
	if near := nearest.Names(want, have, 1); len(near) > 0 {
		return "; did you mean " + near[0] + "?"
	}
	return "; there are " + strings.Join(have, ", ")
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
	if near := nearest.Names(key, keys, 1); len(near) > 0 {
		return "; did you mean " + near[0] + "?"
	}
	if hint := suggestKey(key); hint != "" {
		return hint
	}
	return "; it has " + strings.Join(keys, ", ")
}
