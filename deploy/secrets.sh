#!/bin/sh
# Makes the keys of the compose files and gives each service its own, in a volume below /secrets. It runs as root in the container `secrets`,
# before the others start. Keys that are there stay. BATCHAGENT_REDIS_PASSWORD replaces the password of the user worker, and
# BATCHAGENT_API_KEY that of the inference servers.
set -eu
here=$(dirname "$0")
umask 077

# give FILE FOLDER USER [NAME] copies a key for the user of a container.
give() {
  target=/secrets/$2/${4:-$(basename "$1")}
  cp "$1" "$target.new"
  chown "$3:$3" "$target.new" "/secrets/$2"
  chmod 400 "$target.new"
  chmod 500 "/secrets/$2"
  mv "$target.new" "$target"
}

redis=/secrets/redis
REDIS_WORKER_PASSWORD=${BATCHAGENT_REDIS_PASSWORD:-} "$here/redis/users.sh" "$redis"
if [ -n "${BATCHAGENT_API_KEY:-}" ]; then
  printf %s "$BATCHAGENT_API_KEY" > "$redis/inference-key"
elif [ ! -s "$redis/inference-key" ]; then
  head -c 24 /dev/urandom | od -An -v -tx1 | tr -d ' \n' > "$redis/inference-key"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf 'Authorization: Bearer %s\n' "$(cat "$redis/inference-key")" > "$work/authorization"
password=$(cat "$redis/monitor")
printf '{"redis://redis:6379":"%s","redis://monitor@redis:6379":"%s","rediss://redis:6379":"%s","rediss://monitor@redis:6379":"%s"}\n' \
  "$password" "$password" "$password" "$password" > "$work/passwords.json"

give "$redis/worker" worker 65532 redis-password
give "$redis/coordinator" coordinator 65532 redis-password
give "$work/passwords.json" monitor 65532
for folder in worker coordinator inference; do
  give "$redis/inference-key" "$folder" 65532
done
give "$work/authorization" inference 65532

# The certificate of Redis: its key is closed to others on the host, so Redis gets a copy.
if [ -e /tls/redis.key ]; then
  for file in ca.crt redis.crt redis.key; do
    give "/tls/$file" redis 999
  done
fi
for file in worker coordinator viewer monitor users.acl; do
  chown 999:999 "$redis/$file"
  chmod 400 "$redis/$file"
done
chown 999:999 "$redis"
chmod 500 "$redis"
