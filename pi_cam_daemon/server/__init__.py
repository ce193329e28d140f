"""HTTP server: accepts connections, answers requests, sends the stream. Only daemon, cli and commands may import it.

app.py             App, which every request uses, and Policy, the rules in force
listener.py        accept loop: checks address and limits, starts one thread per connection
local_socket.py    the same for programs of the service's own user, without a password
handler.py         routes: what is answered at each path
exchange.py        requests of one connection: reads, checks and answers them
request.py         parser for requests, with limits of bytes and time
answers.py         parts of answers: header bytes, Content-Security-Policy, files of the page
refused.py         Refused, the exception for a request that is not served; its reasons, with their Korean texts
refusal_page.py    page for a refusal, in the visitor's language
lingering.py       lingering close: refused clients get their answer before the connection ends
access.py          access by network, and trusted proxies
hosts.py           check of Host and Origin, CORS
credentials.py     loading of users, certificate and key
logins.py          passwords (HTTP Basic) and lock-outs
tls.py             TLS context, handshake and socket
limits.py          limits on connections and viewers
counts.py          counters for /metrics, log of refusals
metrics.py         /metrics
report.py          /state and /healthz
streams.py         stream loop: one thread sends the stream to all viewers
audience.py        viewers of one size of the pictures, and what they see
viewer.py          one connection that gets the stream
sending.py         sending of answers, and the clients to drop when slow ones keep too many pictures
event_streams.py   what happens, sent to all who listen at /events
stills.py          /still.jpg
motion.py          /motion: what moves now
recordings.py      folder of the clips, which may hang
clip_routes.py     /recordings: clips that are listed, downloaded, played and deleted
playing.py         a clip as a stream, at its own pace
ranges.py          the part of a file that a client asks for
live_controls.py   /controls: settings changed while the camera runs
settings.py        /settings: settings of the configuration that an admin saves on the page
"""
