"""``python -m demo.post URL``: send one request as ``curl -X POST URL`` does, and print status and body."""

import sys
import urllib.error
import urllib.request

try:
    answer = urllib.request.urlopen(urllib.request.Request(sys.argv[1], method="POST"), timeout=60)  # noqa: S310 - http, from the play
except urllib.error.HTTPError as error:
    answer = error
with answer:
    print(answer.status, answer.read().decode().strip(), flush=True)
sys.exit(answer.status >= 400)  # noqa: PLR2004 - HTTP's own number
