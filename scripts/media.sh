# shellcheck shell=bash
# The development stack's object store (media-store). Sourced by ./run.

MEDIA_BUCKET=postledger
MEDIA_KEY_ID=postledger

# media_start: listens on MEDIA_PORT; files are in .data/media.
media_start() {
  local deadline=$((SECONDS + 30))
  secret .data/secrets/media
  setsid "${POSTLEDGER%/*}/media-store" --listen "127.0.0.1:$MEDIA_PORT" --dir "$DATA/media" --secret-file "$DATA/secrets/media" \
    >.data/log/media-store.log 2>&1 9>&- &
  remember_process .data/media.process $!
  until port_taken "$MEDIA_PORT"; do
    if ((SECONDS > deadline)) || ! remembered_process .data/media.process >/dev/null; then
      die_with .data/log/media-store.log "the object store did not start, see above."
    fi
    sleep 0.1
  done
}

media_stop() { stop_process .data/media.process 10; }

media_settings() {
  cat <<TEXT
[media]
bucket = "$MEDIA_BUCKET"
endpoint = "http://127.0.0.1:$MEDIA_PORT"
path_style = true
access_key_id = "$MEDIA_KEY_ID"
secret_access_key_file = $(json_string "$DATA/secrets/media")
public_url = "http://127.0.0.1:$MEDIA_PORT/$MEDIA_BUCKET"
TEXT
}
