#!/bin/sh
# Makes the files of secrets that compose.yaml reads; none that is there already is touched.
#
#   deploy/make-secrets.sh <integration key of the PagerDuty service>
set -eu

folder="$(dirname "$0")/secrets"
if [ $# -ne 1 ] || [ ${#1} -ne 32 ]; then
  echo "usage: $0 <integration key of the PagerDuty service, 32 characters (Events API v2)>" >&2
  exit 2
fi

# The folder keeps other users out; the containers read the files under numbers of their own.
mkdir -p -m 700 "$folder"
echo '*' > "$folder/.gitignore"

write() {
  if [ ! -e "$folder/$1" ]; then
    printf '%s' "$2" > "$folder/$1"
    chmod 444 "$folder/$1"
  fi
}

random() {
  od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

write pagerduty_routing_key "$1"
for name in api_tokens provider_token_secret grafana_password postgres_password; do
  write "$name" "$(random)"
done
write database_url "postgresql://monitor:$(cat "$folder/postgres_password")@postgres:5432/monitor"
