#!/bin/sh
# Makes the ACL file that Redis loads from users.acl beside this script, or from the file USERS_ACL.
#   users.sh FOLDER        writes FOLDER/users.acl, readable by its owner alone
# The password of a user, such as worker, is the text of FOLDER/worker. Where that file is missing, the variable REDIS_WORKER_PASSWORD
# is taken, and where that is empty a random password is made. REDIS_WORKER_PASSWORD replaces a password that is there. FOLDER/users.acl
# has the SHA-256 of each password. Redis must be started again after a change.
set -eu
[ $# -eq 1 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
folder=$1
source=${USERS_ACL:-$(dirname "$0")/users.acl}
umask 077
mkdir -p "$folder"

hashes=
for user in worker coordinator viewer monitor; do
  variable=REDIS_$(echo "$user" | tr a-z A-Z)_PASSWORD
  eval "given=\${$variable:-}"
  if [ -n "$given" ]; then
    printf %s "$given" > "$folder/$user"
  elif [ ! -s "$folder/$user" ]; then
    head -c 24 /dev/urandom | od -An -v -tx1 | tr -d ' \n' > "$folder/$user"
  fi
  hashes="$hashes $user=$(sha256sum < "$folder/$user" | cut -d' ' -f1)"
done

# Redis refuses a file with a command that it does not know.
missing=
case $("${REDIS_SERVER:-redis-server}" --version 2>/dev/null) in
*v=7.0.*) missing=+waitaof ;;
esac
awk -v hashes="$hashes" -v missing="$missing" '
  BEGIN { n = split(hashes, all, " "); for (i = 1; i <= n; i++) { at = index(all[i], "="); hash[substr(all[i], 1, at - 1)] = substr(all[i], at + 1) } }
  /^#/ || NF == 0 { next }
  $1 == "user" { if (user != "") printf "\n"; user = $2 }
  {
    for (i = 1; i <= NF; i++) {
      word = $i
      if (word == "PASSWORD") { if (!(user in hash)) { print "users.acl: the user " user " has no password" > "/dev/stderr"; exit 1 }; word = "#" hash[user] }
      if (word != missing) printf "%s%s", (word == "user" && i == 1 ? "" : " "), word
    }
  }
  END { printf "\n" }
' "$source" > "$folder/users.acl.new"
mv "$folder/users.acl.new" "$folder/users.acl"
