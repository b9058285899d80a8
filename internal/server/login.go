package server

import (
	"net/http"
	"strings"
	"time"
)

// maxForm limits the size of the dashboard's forms.
const maxForm = 16 << 10

// loginForm is the content of the login page.
type loginForm struct{ Next, Wrong string }

func (s *Server) loginPage(w http.ResponseWriter, r *http.Request) error {
	next := local(r.URL.Query().Get("next"))
	if s.mayEnter(r) {
		http.Redirect(w, r, next, http.StatusSeeOther)
		return nil
	}
	return s.render(w, http.StatusOK, "login", frame{Title: "Log in", Content: loginForm{Next: next}})
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return problem(http.StatusBadRequest, "invalid", "the form cannot be read")
	}
	next := local(r.PostForm.Get("next"))
	form := loginForm{Next: next}
	switch {
	case !s.logins.Allow():
		form.Wrong = "Too many attempts. Wait some seconds."
		return s.render(w, http.StatusTooManyRequests, "login", frame{Title: "Log in", Content: form})
	case s.cfg.Token == "" || s.isToken(strings.TrimSpace(r.PostForm.Get("token"))):
	default:
		form.Wrong = "This is not the token."
		return s.render(w, http.StatusUnauthorized, "login", frame{Title: "Log in", Content: form})
	}
	http.SetCookie(w, s.cookie(r, s.session(time.Now().Add(sessionLife)), int(sessionLife.Seconds())))
	http.Redirect(w, r, next, http.StatusSeeOther)
	return nil
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) error {
	http.SetCookie(w, s.cookie(r, "", -1))
	http.Redirect(w, r, "/login", http.StatusSeeOther)
	return nil
}

func (s *Server) cookie(r *http.Request, value string, age int) *http.Cookie {
	return &http.Cookie{
		Name: sessionCookie, Value: value, Path: "/", MaxAge: age, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		// Behind a TLS proxy, the proxy sets this header.
		Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	}
}

// local returns next if it is a path of this server, and otherwise the first page, so that a login never redirects
// elsewhere.
func local(next string) string {
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return next
}
