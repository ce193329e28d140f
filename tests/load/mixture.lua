-- Requests good and bad, one after the other. wrk counts those answered with 4xx as errors of its own.
local requests = {
    "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /snapshot HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /state HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "POST /state HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc",
    "GET /app.js HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /livez HTTP/1.1\r\nHost: attacker.example\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /snapshot?max_age_ms=nonsense HTTP/1.1\r\nHost: localhost\r\n\r\n",
}
local turn = 0

function request()
    turn = turn % #requests + 1
    return requests[turn]
end
