#!/bin/sh
# Creates a certificate authority and a certificate for Redis, for compose.tls.yml. Needs openssl.
#   redis/certificates.sh FOLDER [NAME or ADDRESS]…      for example: redis/certificates.sh tls 10.0.0.1 redis.example.org
# FOLDER/redis holds ca.crt, which every client must trust, redis.crt and redis.key, which only its owner can read. FOLDER/ca.key signs
# certificates and stays on this machine. The certificate is valid for 825 days, for redis, localhost, 127.0.0.1 and the given names.
# To renew it, run the script again with the same names and restart Redis. The authority is kept, so clients need no change.
set -eu
[ $# -ge 1 ] || { sed -n '2,3s/^# \{0,1\}//p' "$0" >&2; exit 2; }
folder=$1
shift
names=DNS:redis,DNS:localhost,IP:127.0.0.1
for name in "$@"; do
  case $name in
  *:*) names=$names,IP:$name ;;
  *[!0-9.]*) names=$names,DNS:$name ;;
  *) names=$names,IP:$name ;;
  esac
done

# Only the owner can read keys. The containers get copies from secrets.sh.
umask 077
mkdir -p "$folder/redis"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/openssl.cnf" <<CONFIG
[req]
distinguished_name = name
prompt = no
[name]
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[redis]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = $names
CONFIG

if [ ! -e "$folder/ca.key" ]; then
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$folder/ca.key" 2> "$work/said" || { cat "$work/said" >&2; exit 1; }
  openssl req -x509 -new -sha256 -key "$folder/ca.key" -days 3650 -subj "/CN=batchagent Redis authority" \
    -config "$work/openssl.cnf" -extensions authority -out "$folder/redis/ca.crt"
fi
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/redis.key" 2> "$work/said" || { cat "$work/said" >&2; exit 1; }
openssl req -new -sha256 -key "$work/redis.key" -subj "/CN=redis" -config "$work/openssl.cnf" -out "$work/redis.csr"
openssl x509 -req -sha256 -in "$work/redis.csr" -CA "$folder/redis/ca.crt" -CAkey "$folder/ca.key" -set_serial "0x$(openssl rand -hex 16)" -days 825 \
  -extfile "$work/openssl.cnf" -extensions redis -out "$work/redis.crt" 2> "$work/said" || { cat "$work/said" >&2; exit 1; }
chmod 755 "$folder/redis"
chmod 600 "$work/redis.key"
chmod 644 "$work/redis.crt" "$folder/redis/ca.crt"
mv "$work/redis.key" "$work/redis.crt" "$folder/redis/"
echo "$folder/redis: $names" >&2
