#!/bin/sh
# Makes a CA of your own and a certificate for the TLS front, where there is no better one:
#   deploy/caddy/make-certificate.sh deploy/tls gateway.example.internal 10.0.0.5
# Callers trust FOLDER/ca.crt. A second run keeps the CA and makes a new certificate.
set -eu
folder=${1:?the folder to write to}
shift
mkdir -p "$folder"
cd "$folder"

# api.keepa.com: for clients whose base URL cannot be changed and whose DNS is.
names=DNS:api.keepa.com,DNS:localhost,IP:127.0.0.1
for name; do
  case $name in
  *[!0-9.]*) names=$names,DNS:$name ;;
  *) names=$names,IP:$name ;;
  esac
done

new_key() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "$@"
}
umask 077
[ -f ca.key ] || new_key -x509 -days 3650 -subj "/CN=Keepa gateway's own CA" \
  -addext keyUsage=critical,keyCertSign -keyout ca.key -out ca.crt
printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\n' "$names" >front.ext
new_key -subj /CN=api.keepa.com -keyout front.key -out front.csr
# 825 days: Apple's clients take no certificate that lasts longer.
openssl x509 -req -days 825 -in front.csr -CA ca.crt -CAkey ca.key -CAcreateserial \
  -extfile front.ext -out front.crt
rm front.csr front.ext
chmod a+r ca.crt front.crt
