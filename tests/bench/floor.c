/*
 * The least program that sends the same bytes to the same sockets, once a frame is there: what no server can be below.
 * It parses nothing and checks nothing; its frames come from a folder and a timer, stamped as rig/fakev4l.c does it.
 *
 *   floor PORT FRAMES FPS
 *
 * cc -O2 -Wall -Wextra -o floor floor.c
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MAX_CLIENTS 4096
#define MAX_FRAMES 256
/* after SOI: a comment (FFFE) of 38 bytes, "FAKE", the frame's number and CLOCK_MONOTONIC in ns, 16 hex digits each */
#define STAMP_LENGTH 40

struct part {
	uint8_t *data;
	size_t length;
	int holders;
};

struct client {
	int fd, streaming, slot;
	struct part *part;
	size_t offset;
};

static struct { uint8_t *data; size_t length; } jpegs[MAX_FRAMES];
static int jpeg_count;
static struct client *clients[MAX_CLIENTS];
static int client_count;

static int is_jpeg(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');
	return dot && !strcmp(dot, ".jpg");
}

static void load_frames(const char *folder)
{
	struct dirent **entries;
	int count = scandir(folder, &entries, is_jpeg, alphasort);
	for (int i = 0; i < count && i < MAX_FRAMES; i++) {
		char path[PATH_MAX];
		struct stat status;
		snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
		FILE *file = fopen(path, "rb");
		if (!file || fstat(fileno(file), &status)) err(1, "%s", path);
		jpegs[i].length = (size_t)status.st_size;
		jpegs[i].data = malloc(jpegs[i].length);
		if (fread(jpegs[i].data, 1, jpegs[i].length, file) != jpegs[i].length) errx(1, "%s is cut short", path);
		fclose(file);
		jpeg_count++;
	}
	if (!jpeg_count) errx(1, "no frames in %s", folder);
}

static struct part *make_part(uint64_t sequence)
{
	struct part *part = calloc(1, sizeof *part);
	struct timespec now;
	int i = (int)(sequence % (uint64_t)jpeg_count);
	part->data = malloc(256 + jpegs[i].length);
	size_t at = (size_t)sprintf((char *)part->data, "--F\r\nContent-Type: image/jpeg\r\nContent-Length: %zu\r\n\r\n",
		jpegs[i].length + STAMP_LENGTH);
	clock_gettime(CLOCK_MONOTONIC, &now);
	uint64_t ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	memcpy(part->data + at, "\xff\xd8\xff\xfe\x00\x26", 6);
	sprintf((char *)part->data + at + 6, "FAKE%016jx%016jx", (uintmax_t)sequence, (uintmax_t)ns);
	at += 2 + STAMP_LENGTH;
	memcpy(part->data + at, jpegs[i].data + 2, jpegs[i].length - 2);
	at += jpegs[i].length - 2;
	memcpy(part->data + at, "\r\n", 2);
	part->length = at + 2;
	part->holders = 1;
	return part;
}

static void release(struct part *part)
{
	if (!part || --part->holders) return;
	free(part->data);
	free(part);
}

static void drop(struct client *client)
{
	clients[client->slot] = clients[--client_count];
	clients[client->slot]->slot = client->slot;
	close(client->fd);
	release(client->part);
	free(client);
}

/* Send on; 0 if the client is still there. */
static int push(struct client *client)
{
	struct part *part = client->part;
	while (client->offset < part->length) {
		ssize_t sent = send(client->fd, part->data + client->offset, part->length - client->offset, MSG_NOSIGNAL);
		if (sent < 0) return errno != EAGAIN;
		client->offset += (size_t)sent;
	}
	release(part);
	client->part = NULL;
	return 0;
}

static void welcome(int listener, int epoll)
{
	int fd, one = 1;
	while (client_count < MAX_CLIENTS && (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		struct client *client = calloc(1, sizeof *client);
		struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = client };
		client->fd = fd;
		client->slot = client_count;
		clients[client_count++] = client;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	}
}

static void show(struct part *part)
{
	for (int i = client_count - 1; i >= 0; i--) {
		struct client *client = clients[i];
		if (!client->streaming || client->part) continue;
		client->part = part;
		client->offset = 0;
		part->holders++;
		if (push(client)) drop(client);
	}
	release(part);
}

static void serve(struct client *client, uint32_t events)
{
	static const char head[] = "HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=F\r\n\r\n";
	char request[2048];
	if (events & (EPOLLIN | EPOLLHUP)) {
		ssize_t got = recv(client->fd, request, sizeof request, 0);
		if (got == 0 || (got < 0 && errno != EAGAIN)) {
			drop(client);
			return;
		}
		if (got > 0 && !client->streaming)
			client->streaming = send(client->fd, head, sizeof head - 1, MSG_NOSIGNAL) > 0;
	}
	if (client->part && push(client)) drop(client);
}

int main(int argc, char **argv)
{
	if (argc != 4) errx(2, "usage: floor PORT FRAMES FPS");
	signal(SIGPIPE, SIG_IGN);
	load_frames(argv[2]);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) err(1, "port %s", argv[1]);
	long period = 1000000000l / atol(argv[3]);
	struct itimerspec every = { { period / 1000000000l, period % 1000000000l }, { 0, 1 } };
	int timer = timerfd_create(CLOCK_MONOTONIC, 0), epoll = epoll_create1(0);
	timerfd_settime(timer, 0, &every, NULL);
	epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &(struct epoll_event){ .events = EPOLLIN, .data.ptr = &listener });
	epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &(struct epoll_event){ .events = EPOLLIN, .data.ptr = &timer });
	for (uint64_t sequence = 0;;) {
		struct epoll_event events[128];
		int count = epoll_wait(epoll, events, 128, -1), ticked = 0;
		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr == &listener) welcome(listener, epoll);
			else if (events[i].data.ptr == &timer) ticked = 1;
			else serve(events[i].data.ptr, events[i].events);
		}
		uint64_t ticks; /* after the clients, for a part that is shown may end any of them */
		if (ticked && read(timer, &ticks, sizeof ticks) == sizeof ticks) {
			show(make_part(sequence));
			sequence += ticks;
		}
	}
}
