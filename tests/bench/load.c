/*
 * Viewers of an MJPEG server, all in one thread, which throw the pictures away inside the kernel (MSG_TRUNC): they cost
 * little beside the server that is measured. Stamps of tests/usb/rig/fakev4l.c tell frames apart and how old they are.
 *
 *   load [OPTION...] PORT PATH
 *
 *   -n N           viewers (0)
 *   -w S, -d S     seconds to settle, then to measure (1, 5)
 *   --stalled K    K more that read one picture and nothing after it
 *   --slow K       K more that read --rate bytes a second (500000)
 *   --ramp R       connections opened a second (500)
 *   --churn R      R new viewers a second, who leave after 3 pictures
 *   --verify       read the pictures, and check that they are whole and the same for all viewers
 *   --snapshots C  C connections that fetch one picture after the other, with --close a new connection for each
 *
 * "begin" and "end" are written at the edges of the measurement, for whoever meters the server; then one line of JSON.
 * Times are in ms: the age of a picture from its stamp to its last byte, the first picture and a snapshot from the
 * beginning of the connection, or of the request where a connection is used again.
 *
 * cc -O2 -Wall -Wextra -o load load.c
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHURN_PICTURES 3
#define STAMP_LENGTH 42      /* with SOI */
#define SEEN 1024            /* pictures whose hash is remembered; viewers are never so far apart */
#define SECOND 1000000000u

enum kind { VIEWER, STALLED, SLOW, CHURN, SNAPSHOT };
enum state { CONNECTING, RESPONSE, PART, BODY };

struct client {
	int fd, slot, keep_alive;
	enum kind kind;
	enum state state;
	char head[4096];
	int head_length;
	uint8_t begin[STAMP_LENGTH]; /* of the picture */
	size_t begin_length;
	int64_t left;                /* bytes of it to come */
	uint8_t *body;               /* with --verify */
	size_t body_length;
	uint64_t bytes, pictures, pictures_before, skipped, skipped_before, asked_at;
	int64_t sequence;
	double budget;
};

struct times {
	uint32_t *us;
	size_t count, room;
};

static struct client **clients;
static int client_count, epoll;
static struct sockaddr_in address = { .sin_family = AF_INET };
static const char *path;
static int verify, close_each, measuring, begun;
static struct times ages, slow_ages, first_pictures, snapshot_times;
static uint64_t errors, ended, corrupt, unstamped;
static struct { int64_t sequence; uint64_t hash; } seen[SEEN];

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static void note(struct times *times, uint64_t ns)
{
	if (times->count == times->room) {
		times->room = times->room ? times->room * 2 : 65536;
		times->us = realloc(times->us, times->room * sizeof *times->us);
	}
	times->us[times->count++] = ns / 1000 > UINT32_MAX ? UINT32_MAX : (uint32_t)(ns / 1000);
}

static void forget(struct client *client)
{
	clients[client->slot] = clients[--client_count];
	clients[client->slot]->slot = client->slot;
	close(client->fd);
	free(client->body);
	free(client);
}

static void connect_client(struct client *client)
{
	int one = 1;
	client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (client->fd < 0) err(1, "socket");
	setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	client->state = CONNECTING;
	client->head_length = 0;
	client->asked_at = now_ns();
	if (connect(client->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) errors++;
	epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &(struct epoll_event){ .events = EPOLLOUT, .data.ptr = client });
}

static void add_client(enum kind kind)
{
	struct client *client = calloc(1, sizeof *client);
	client->kind = kind;
	client->sequence = -1;
	client->slot = client_count;
	clients = realloc(clients, sizeof *clients * (size_t)(client_count + 1));
	clients[client_count++] = client;
	connect_client(client);
}

static void connect_again(struct client *client)
{
	close(client->fd);
	connect_client(client);
}

static void ask(struct client *client)
{
	char request[1024];
	int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n", path,
		ntohs(address.sin_port), close_each ? "Connection: close\r\n" : "");
	client->state = RESPONSE;
	client->head_length = 0;
	if (send(client->fd, request, (size_t)length, MSG_NOSIGNAL) != length) errors++;
}

/* FNV-1a over words. */
static uint64_t hash(const uint8_t *at, size_t length)
{
	uint64_t hash = 1469598103934665603u, word;
	for (; length >= 8; at += 8, length -= 8) {
		memcpy(&word, at, 8);
		hash = (hash ^ word) * 1099511628211u;
	}
	while (length--) hash = (hash ^ *at++) * 1099511628211u;
	return hash;
}

static int is_whole_and_as_others_got_it(const struct client *client, int64_t sequence)
{
	const uint8_t *body = client->body;
	size_t length = client->body_length;
	if (length < 4 || memcmp(body, "\xff\xd8", 2) || memcmp(body + length - 2, "\xff\xd9", 2)) return 0;
	if (sequence < 0) return 1;
	uint64_t mine = hash(body, length);
	unsigned place = (unsigned)sequence % SEEN;
	int first = seen[place].sequence != sequence + 1; /* 0 is nothing yet */
	if (first) {
		seen[place].sequence = sequence + 1;
		seen[place].hash = mine;
	}
	return seen[place].hash == mine;
}

/* The picture is there. Returns 1 if the client does not read on. */
static int finish_picture(struct client *client)
{
	uint64_t now = now_ns(), stamp = 0;
	int64_t sequence = -1;
	char text[33] = "";
	if (client->begin_length == STAMP_LENGTH && !memcmp(client->begin + 6, "FAKE", 4)) {
		memcpy(text, client->begin + 26, 16);
		stamp = strtoull(text, NULL, 16);
		memcpy(text, client->begin + 10, 16);
		sequence = (int64_t)strtoull(text, NULL, 16);
	} else {
		unstamped++;
	}
	client->pictures++;
	if (verify && client->kind == VIEWER && !is_whole_and_as_others_got_it(client, sequence)) corrupt++;
	if (client->kind == VIEWER && sequence >= 0) {
		if (client->sequence >= 0 && sequence <= client->sequence) corrupt++;
		else if (client->sequence >= 0) client->skipped += (uint64_t)(sequence - client->sequence - 1);
		client->sequence = sequence;
	}
	if (measuring && sequence >= 0 && client->kind == VIEWER) note(&ages, now - stamp);
	if (measuring && sequence >= 0 && client->kind == SLOW) note(&slow_ages, now - stamp);
	client->begin_length = client->body_length = 0;
	client->state = PART;
	switch (client->kind) {
	case VIEWER:
		begun += client->pictures == 1;
		return 0;
	case SLOW:
		return 0;
	case STALLED:
		epoll_ctl(epoll, EPOLL_CTL_DEL, client->fd, NULL);
		return 1;
	case CHURN:
		if (measuring && client->pictures == 1) note(&first_pictures, now - client->asked_at);
		if (client->pictures < CHURN_PICTURES) return 0;
		forget(client);
		return 1;
	case SNAPSHOT:
		if (measuring) note(&snapshot_times, now - client->asked_at);
		if (client->keep_alive) {
			client->asked_at = now;
			ask(client);
		} else {
			connect_again(client);
		}
		return 1;
	}
	return 0;
}

static const char *header(const char *head, const char *name)
{
	size_t length = strlen(name);
	for (const char *line = head; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncasecmp(line, name, length) && line[length] == ':') return line + length + 1 + strspn(line + length + 1, " ");
	}
	return NULL;
}

static void discard_head(struct client *client, int count)
{
	client->head_length -= count;
	memmove(client->head, client->head + count, (size_t)client->head_length);
}

/* Read what is in client->head. Returns 1 if the client does not read on. */
static int parse(struct client *client)
{
	for (;;) {
		client->head[client->head_length] = 0;
		char *end = strstr(client->head, "\r\n\r\n");
		if (!end) return 0;
		end[2] = 0;
		int used = (int)(end - client->head) + 4;
		const char *length = header(client->head, "Content-Length"), *connection = header(client->head, "Connection");
		if (client->state == RESPONSE) {
			int status = 0, minor = 0;
			if (sscanf(client->head, "HTTP/1.%d %d", &minor, &status) != 2 || status != 200) {
				errors++;
				forget(client);
				return 1;
			}
			client->keep_alive = connection ? !strncasecmp(connection, "keep-alive", 10) : minor == 1;
			if (client->kind != SNAPSHOT) {
				client->state = PART;
				discard_head(client, used);
				continue;
			}
		}
		if (!length) { /* an empty line before the boundary */
			discard_head(client, used);
			continue;
		}
		client->left = atoll(length);
		client->state = BODY;
		int have = client->head_length - used;
		if (have > client->left) have = (int)client->left;
		client->begin_length = have < STAMP_LENGTH ? (size_t)have : STAMP_LENGTH;
		memcpy(client->begin, client->head + used, client->begin_length);
		if (verify) {
			client->body = realloc(client->body, (size_t)client->left);
			memcpy(client->body, client->head + used, (size_t)have);
			client->body_length = (size_t)have;
		}
		client->left -= have;
		discard_head(client, used + have);
		if (client->left) return 0;
		if (finish_picture(client)) return 1;
	}
}

static void hung_up(struct client *client)
{
	if (client->kind == SNAPSHOT) {
		errors += client->state == BODY || client->head_length;
		connect_again(client);
		return;
	}
	ended += client->kind == VIEWER;
	forget(client);
}

static ssize_t read_body(struct client *client, size_t most)
{
	ssize_t got;
	size_t wanted = (size_t)client->left < most ? (size_t)client->left : most;
	if (verify) {
		got = recv(client->fd, client->body + client->body_length, wanted, 0);
		if (got <= 0) return got;
		client->body_length += (size_t)got;
		client->begin_length = client->body_length < STAMP_LENGTH ? client->body_length : STAMP_LENGTH;
		memcpy(client->begin, client->body, client->begin_length);
	} else if (client->begin_length < STAMP_LENGTH) {
		if (wanted > STAMP_LENGTH - client->begin_length) wanted = STAMP_LENGTH - client->begin_length;
		got = recv(client->fd, client->begin + client->begin_length, wanted, 0);
		if (got > 0) client->begin_length += (size_t)got;
	} else {
		got = recv(client->fd, NULL, wanted, MSG_TRUNC);
	}
	if (got > 0) client->left -= got;
	return got;
}

static void read_on(struct client *client, size_t budget)
{
	for (int turns = 0; turns < 16 && budget > 0; turns++) {
		ssize_t got;
		if (client->state == BODY) {
			got = read_body(client, budget);
			if (got > 0 && !client->left && finish_picture(client)) return;
		} else {
			size_t room = sizeof client->head - 1 - (size_t)client->head_length;
			if (!room) {
				errors++;
				forget(client);
				return;
			}
			got = recv(client->fd, client->head + client->head_length, room < 512 ? room : 512, 0);
			if (got > 0) {
				client->head_length += (int)got;
				if (parse(client)) return;
			}
		}
		if (got < 0 && errno == EAGAIN) return;
		if (got <= 0) {
			hung_up(client);
			return;
		}
		client->bytes += (uint64_t)got;
		budget -= (size_t)got < budget ? (size_t)got : budget;
	}
}

static void connected(struct client *client)
{
	int failed = 0;
	socklen_t length = sizeof failed;
	getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &failed, &length);
	if (failed) {
		errors++;
		if (client->kind == SNAPSHOT) connect_again(client);
		else forget(client);
		return;
	}
	ask(client);
	if (client->kind == SLOW) epoll_ctl(epoll, EPOLL_CTL_DEL, client->fd, NULL); /* the clock tells it when to read */
	else epoll_ctl(epoll, EPOLL_CTL_MOD, client->fd, &(struct epoll_event){ .events = EPOLLIN, .data.ptr = client });
}

static void let_slow_ones_read(double rate, double seconds)
{
	for (int i = client_count - 1; i >= 0; i--) {
		struct client *client = clients[i];
		if (client->kind != SLOW || client->state == CONNECTING) continue;
		client->budget += rate * seconds;
		if (client->budget < 1500) continue;
		uint64_t before = client->bytes;
		int count = client_count;
		read_on(client, (size_t)client->budget);
		if (client_count < count) continue; /* it was disconnected, and is gone */
		/* what was not there to read is not caught up on: the line is slow, not the reader patient */
		client->budget = client->bytes - before < client->budget ? client->budget - (double)(client->bytes - before) : 0;
		if (client->budget > rate * 0.05) client->budget = rate * 0.05;
	}
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static void print_times(const char *name, struct times *times)
{
	size_t last = times->count - 1;
	if (!times->count) return;
	qsort(times->us, times->count, sizeof *times->us, by_value);
	printf("\"%s\":{\"count\":%zu,\"p50\":%.3f,\"p99\":%.3f,\"max\":%.3f},", name, times->count,
		times->us[last / 2] / 1e3, times->us[(size_t)((double)last * 0.99)] / 1e3, times->us[last] / 1e3);
}

static void report(double seconds)
{
	uint64_t pictures = 0, skipped = 0, fewest = UINT64_MAX;
	int viewers = 0;
	struct rusage self;
	for (int i = 0; i < client_count; i++) {
		if (clients[i]->kind != VIEWER) continue;
		uint64_t its = clients[i]->pictures - clients[i]->pictures_before;
		pictures += its;
		skipped += clients[i]->skipped - clients[i]->skipped_before;
		if (its < fewest) fewest = its;
		viewers++;
	}
	getrusage(RUSAGE_SELF, &self);
	print_times("age", &ages);
	print_times("slow_age", &slow_ages);
	print_times("first_picture", &first_pictures);
	print_times("snapshot", &snapshot_times);
	printf("\"seconds\":%.3f,\"viewers\":%d,\"pictures\":%ju,\"dropped\":%ju,\"fewest\":%ju,\"ended\":%ju,\"errors\":%ju,"
		"\"corrupt\":%ju,\"unstamped\":%ju}\n", seconds, viewers, (uintmax_t)pictures, (uintmax_t)skipped,
		(uintmax_t)(viewers ? fewest : 0), (uintmax_t)ended, (uintmax_t)errors, (uintmax_t)corrupt, (uintmax_t)unstamped);
}

int main(int argc, char **argv)
{
	int viewers = 0, stalled = 0, slow = 0, snapshots = 0, opened = 0;
	double settle = 1, duration = 5, rate = 500000, ramp = 500, churn = 0, churned = 0;
	const char *port = NULL;
	for (int i = 1; i < argc; i++) {
		const char *option = argv[i];
#define OPTION(name) (!strcmp(option, name) && i + 1 < argc)
		if (OPTION("-n")) viewers = atoi(argv[++i]);
		else if (OPTION("-w")) settle = atof(argv[++i]);
		else if (OPTION("-d")) duration = atof(argv[++i]);
		else if (OPTION("--stalled")) stalled = atoi(argv[++i]);
		else if (OPTION("--slow")) slow = atoi(argv[++i]);
		else if (OPTION("--rate")) rate = atof(argv[++i]);
		else if (OPTION("--ramp")) ramp = atof(argv[++i]);
		else if (OPTION("--churn")) churn = atof(argv[++i]);
		else if (OPTION("--snapshots")) snapshots = atoi(argv[++i]);
		else if (!strcmp(option, "--verify")) verify = 1;
		else if (!strcmp(option, "--close")) close_each = 1;
		else if (*option == '-' || path) errx(2, "usage: load [OPTION...] PORT PATH");
		else if (!port) port = option;
		else path = option;
	}
	if (!path) errx(2, "usage: load [OPTION...] PORT PATH");
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	address.sin_port = htons((uint16_t)atoi(port));
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	epoll = epoll_create1(EPOLL_CLOEXEC);

	int all = stalled + slow + viewers + snapshots;
	uint64_t started = now_ns(), read_at = started, ready_at = 0, begin_at = 0;
	for (;;) {
		uint64_t now = now_ns();
		double elapsed = (double)(now - started) / SECOND;
		/* the disturbers first: whoever measures the others measures beside them */
		for (; opened < all && opened <= elapsed * ramp; opened++)
			add_client(opened < stalled ? STALLED : opened < stalled + slow ? SLOW : opened < stalled + slow + viewers ? VIEWER : SNAPSHOT);
		if (!ready_at && opened == all && (begun == viewers || elapsed > 15 + all / ramp)) ready_at = now;
		if (ready_at && !measuring && (double)(now - ready_at) / SECOND >= settle) {
			measuring = 1;
			puts("begin");
			for (int i = 0; i < client_count; i++) {
				clients[i]->pictures_before = clients[i]->pictures;
				clients[i]->skipped_before = clients[i]->skipped;
			}
			begin_at = now = now_ns();
		}
		if (measuring && (double)(now - begin_at) / SECOND >= duration) {
			puts("end");
			putchar('{');
			report((double)(now - begin_at) / SECOND);
			return 0;
		}
		for (; ready_at && churned < churn * (double)(now - ready_at) / SECOND; churned++) add_client(CHURN);
		if (slow && now - read_at > SECOND / 50) {
			let_slow_ones_read(rate, (double)(now - read_at) / SECOND);
			read_at = now;
		}
		struct epoll_event events[256];
		int count = epoll_wait(epoll, events, 256, opened < all || slow || churn > 0 ? 5 : 50);
		for (int i = 0; i < count; i++) {
			struct client *client = events[i].data.ptr;
			if (client->state == CONNECTING) connected(client);
			else read_on(client, SIZE_MAX);
		}
	}
}
