package testredis

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Users makes the server load the users that deployments have: deploy/redis/users.acl, as users.sh renders it. [Process.As] returns their
// URLs. [Process.URL] and [Process.Client] are those of an administrator that this package adds.
func Users() Arg {
	return func(o *options) { o.users, o.user, o.password = true, "administrator", "administrator-of-tests" }
}

// As is the server's URL for a user of [Users], with its password.
func (p *Process) As(user string) string {
	p.t.Helper()
	password, err := os.ReadFile(filepath.Join(p.dir, "users", user))
	if err != nil {
		p.t.Fatalf("read the password of %s: %v", user, err)
	}
	u, err := url.Parse(p.URL())
	if err != nil {
		p.t.Fatalf("parse the URL of the server: %v", err)
	}
	u.User = url.UserPassword(user, string(password))
	return u.String()
}

func (p *Process) aclFile() string { return filepath.Join(p.dir, "users", "users.acl") }

// renderUsers runs users.sh and adds the administrator. It skips the test on a server that has no rights to read a key without the right
// to write it.
func (p *Process) renderUsers() {
	p.t.Helper()
	version, err := exec.Command(program(), "--version").Output()
	if err != nil {
		p.t.Fatalf("ask %s for its version: %v", program(), err)
	}
	if strings.Contains(string(version), "v=6.") {
		p.t.Skipf("users.acl needs Redis 7.0: %s", version)
	}
	_, here, _, _ := runtime.Caller(0)
	script := filepath.Join(filepath.Dir(here), "../../deploy/redis/users.sh")
	cmd := exec.Command(script, filepath.Join(p.dir, "users"))
	cmd.Env = append(os.Environ(), "REDIS_SERVER="+program())
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	f, err := os.OpenFile(p.aclFile(), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString("user " + p.opts.user + " on >" + p.opts.password + " ~* &* +@all\n")
		if e := f.Close(); err == nil {
			err = e
		}
	}
	if err != nil {
		p.t.Fatalf("add the administrator: %v", err)
	}
}
