package main

import (
	"os"
	"os/user"
	"strconv"

	"gatehouse/authsvc"
)

// localActor is whoever runs this command: they can read the data directory, so they may do everything, and the audit
// trail names their account.
func localActor() *authsvc.Actor {
	name := "uid " + strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	return authsvc.Local(name)
}
