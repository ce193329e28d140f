/*
 * V4L2 cameras for machines that have none: under LD_PRELOAD, whatever text file a program opens in the folder
 * $FAKEV4L_DEV is a device node. The file says what the node is, as words `key=value`:
 *
 *   kind=camera      a USB camera; also `metadata` (a UVC camera's second node), `planes` (it has the multi-planar API
 *                    only), `pci` (an HDMI card), `loopback` (v4l2loopback), and on a Pi `codec` (memory to memory),
 *                    `sensor` and `cfe` (a CSI camera's raw pictures), `isp`, `legacy` (the old camera stack)
 *   frames=FOLDER    its JPEGs, delivered byte for byte, in the order of their names, endlessly
 *   formats=MJPG,YUYV  raw ones are drawn: YUYV, YVYU, UYVY, GREY, RGB3, BGR3, NV12, NV21, YU12, YV12
 *   pad=0            bytes between the rows of raw pictures
 *   size=320x240     the only one it has, but for
 *   large=640x480    which it has, too, with JPEGs of its own in large_frames=FOLDER
 *   fps=25           the only rate it has, but for
 *   every=2500       milliseconds between two frames in the dark, whatever it announces
 *   state=run        also `freeze` (no frames come), `eio` (DQBUF fails), `corrupt` (every second picture is cut in half),
 *                    `broken` (the start of each is missing), `endless` (the end marker of each is), `error` (every second buffer is flagged V4L2_BUF_FLAG_ERROR),
 *                    `busy` (another program streams), `no-clock` (no timestamps), `stubborn` (no control can be set:
 *                    EIO), `stuck` (to set one never returns), `full` (STREAMON fails: other cameras have the bandwidth
 *                    of the bus)
 *
 *   stamp=1          each JPEG gets a comment right after SOI, FF FE 00 26: "FAKE", its number and CLOCK_MONOTONIC in
 *                    nanoseconds when it was there, 16 hexadecimal digits each
 *   priority=10      SCHED_FIFO for the thread that delivers, so that a busy program does not delay its own camera
 *
 * The state is read again for every frame; a file that is taken away is a camera that was unplugged. Since nodes are
 * files, links, permissions and replugging under another name need nothing here. The thread that delivers is called
 * "fakev4l": what it costs is no cost of the program's.
 *
 * cc -O2 -Wall -Wextra -shared -fPIC -o fakev4l.so fakev4l.c -ldl -lpthread
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/videodev2.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAX_HANDLES 16
#define MAX_BUFFERS 32
#define MAX_FRAMES 256
#define STAMP_LENGTH 40

struct jpeg {
	uint8_t *data;
	size_t length;
};

/* One open file of a program. */
struct handle {
	char node[PATH_MAX];
	char kind[16];
	uint32_t formats[16];
	int format_count;
	unsigned width, height, fps, every;
	unsigned sizes[2][2];
	int size_count;
	int stamp, priority;
	unsigned pad;
	uint32_t drawn; /* a bit for each buffer that has its raw picture */
	size_t raw_size;
	struct jpeg all_jpegs[2][MAX_FRAMES]; /* by size */
	int jpeg_counts[2];
	struct jpeg *jpegs; /* of the size that is set */
	int jpeg_count;

	int fd;      /* what the program holds: the read end of a pipe, so that poll() works */
	int bell;    /* the write end: a byte for each finished buffer; -1 once unplugged */
	int memfd;   /* the buffers, one behind the other */
	uint8_t *memory;
	size_t buffer_size;
	unsigned buffer_count;
	uint32_t format;
	int32_t values[16]; /* of the controls below */

	struct v4l2_buffer queued[MAX_BUFFERS], done[MAX_BUFFERS];
	int queued_count, done_count;
	char state[16]; /* as it was at the last frame */
	int streaming, stop;
	pthread_t feeder;
};

static struct handle *handles[MAX_HANDLES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static char folder[PATH_MAX];

static int (*real_openat)(int, const char *, int, ...);
static int (*real_close)(int);
static int (*real_ioctl)(int, unsigned long, ...);
static void *(*real_mmap)(void *, size_t, int, int, int, off_t);

static void initialize(void)
{
	const char *wanted = getenv("FAKEV4L_DEV");
	real_openat = (__typeof__(real_openat))dlsym(RTLD_NEXT, "openat");
	real_close = (__typeof__(real_close))dlsym(RTLD_NEXT, "close");
	real_ioctl = (__typeof__(real_ioctl))dlsym(RTLD_NEXT, "ioctl");
	real_mmap = (__typeof__(real_mmap))dlsym(RTLD_NEXT, "mmap");
	if (wanted && !realpath(wanted, folder)) folder[0] = 0;
}

#define INITIALIZE() pthread_once(&once, initialize)

/* ---- the node's file --------------------------------------------------- */

/* The file's text; -1 if it is gone. */
static int read_node(const char *path, char *text, size_t size)
{
	int fd = real_openat(AT_FDCWD, path, O_RDWR | O_CLOEXEC); /* as a device is opened: permissions count */
	if (fd < 0) return -1;
	ssize_t got = read(fd, text, size - 1);
	real_close(fd);
	text[got > 0 ? got : 0] = 0;
	return 0;
}

/* The value of *key* in *text*, or *other*. */
static void setting(const char *text, const char *key, const char *other, char *value, size_t size)
{
	size_t length = strlen(key);
	snprintf(value, size, "%s", other);
	for (const char *word = text; *word; word += strcspn(word, " \n"), word += strspn(word, " \n"))
		if (!strncmp(word, key, length) && word[length] == '=') {
			const char *begin = word + length + 1;
			snprintf(value, size, "%.*s", (int)strcspn(begin, " \n"), begin);
		}
}

/* The node's state now, `gone` when it was unplugged. */
static void state_now(const struct handle *h, char *state, size_t size)
{
	char text[1024];
	if (read_node(h->node, text, sizeof text)) snprintf(state, size, "gone");
	else setting(text, "state", "run", state, size);
}

/* While it streams, the feeder looks: the program's own calls cost no more than a real camera's. */
static int state_is(const struct handle *h, const char *state)
{
	char now[16];
	if (h->streaming) return !strcmp(h->state, state);
	state_now(h, now, sizeof now);
	return !strcmp(now, state);
}

static int is_jpeg(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');
	return dot && !strcmp(dot, ".jpg");
}

static void set_size(struct handle *h, int index)
{
	h->width = h->sizes[index][0];
	h->height = h->sizes[index][1];
	h->jpegs = h->all_jpegs[index];
	h->jpeg_count = h->jpeg_counts[index];
}

static void load_frames(struct handle *h, const char *from, int size)
{
	struct dirent **entries;
	int count = scandir(from, &entries, is_jpeg, alphasort);
	for (int i = 0; i < count; i++) {
		char path[PATH_MAX + NAME_MAX + 2];
		struct stat status;
		snprintf(path, sizeof path, "%s/%s", from, entries[i]->d_name);
		free(entries[i]);
		int fd = real_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
		if (fd < 0) continue;
		struct jpeg *jpeg = &h->all_jpegs[size][h->jpeg_counts[size]];
		if (h->jpeg_counts[size] < MAX_FRAMES && !fstat(fd, &status) && (jpeg->data = malloc((size_t)status.st_size))) {
			ssize_t got = read(fd, jpeg->data, (size_t)status.st_size);
			jpeg->length = got > 0 ? (size_t)got : 0;
			h->jpeg_counts[size]++;
		}
		real_close(fd);
	}
	if (count >= 0) free(entries);
}

static void describe(struct handle *h, const char *text)
{
	char value[PATH_MAX];
	setting(text, "kind", "camera", h->kind, sizeof h->kind);
	setting(text, "size", "320x240", value, sizeof value);
	sscanf(value, "%ux%u", &h->sizes[0][0], &h->sizes[0][1]);
	setting(text, "large", "", value, sizeof value);
	h->size_count = 1 + (sscanf(value, "%ux%u", &h->sizes[1][0], &h->sizes[1][1]) == 2);
	setting(text, "fps", "25", value, sizeof value);
	h->fps = (unsigned)atoi(value);
	setting(text, "every", "0", value, sizeof value);
	h->every = (unsigned)atoi(value);
	setting(text, "formats", "MJPG,YUYV", value, sizeof value);
	for (char *rest = value, *name; h->format_count < 16 && (name = strsep(&rest, ","));)
		if (strlen(name) == 4) h->formats[h->format_count++] = v4l2_fourcc(name[0], name[1], name[2], name[3]);
	setting(text, "stamp", "0", value, sizeof value);
	h->stamp = atoi(value);
	setting(text, "pad", "0", value, sizeof value);
	h->pad = (unsigned)atoi(value);
	setting(text, "priority", "0", value, sizeof value);
	h->priority = atoi(value);
	setting(text, "frames", "", value, sizeof value);
	load_frames(h, value, 0);
	setting(text, "large_frames", "", value, sizeof value);
	if (*value) load_frames(h, value, 1);
	set_size(h, 0);
	h->format = h->formats[0];
}

/* ---- frames ------------------------------------------------------------ */

static int is_raw(const struct handle *h)
{
	return h->format != V4L2_PIX_FMT_MJPEG && h->format != V4L2_PIX_FMT_JPEG;
}

static int has_planes(uint32_t format)
{
	return format == V4L2_PIX_FMT_NV12 || format == V4L2_PIX_FMT_NV21 || format == V4L2_PIX_FMT_YUV420 || format == V4L2_PIX_FMT_YVU420;
}

static unsigned row_bytes(const struct handle *h, uint32_t format)
{
	if (format == V4L2_PIX_FMT_MJPEG || format == V4L2_PIX_FMT_JPEG) return 0;
	if (format == V4L2_PIX_FMT_RGB24 || format == V4L2_PIX_FMT_BGR24) return h->width * 3 + h->pad;
	return h->width * (format == V4L2_PIX_FMT_GREY || has_planes(format) ? 1 : 2) + h->pad;
}

/* Room for a picture of any format. */
static size_t image_size(const struct handle *h)
{
	return ((size_t)h->width * 3 + h->pad * 2) * (h->height + 1);
}

static uint8_t byte_of(double value)
{
	return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* Brighter to the right; grey above, red below. The bytes between rows are 0xAA. */
static size_t draw_raw(const struct handle *h, uint8_t *to)
{
	unsigned row = row_bytes(h, h->format), colour_rows = (h->height + 1) / 2, colour_row = (row + 1) / 2;
	size_t size = (size_t)row * h->height;
	uint8_t *first = to + size, *second = first + (size_t)colour_row * colour_rows;
	if (h->format == V4L2_PIX_FMT_NV12 || h->format == V4L2_PIX_FMT_NV21) size += (size_t)row * colour_rows;
	else if (has_planes(h->format)) size += 2 * (size_t)colour_row * colour_rows;
	memset(to, 0xAA, size);
	for (unsigned y = 0; y < h->height; y++)
		for (unsigned x = 0; x < h->width; x++) {
			uint8_t luma = (uint8_t)(16 + 128 * x / h->width);
			int u = y < h->height / 2 ? 128 : 110, v = y < h->height / 2 ? 128 : 220;
			double bright = 1.164 * (luma - 16);
			uint8_t red = byte_of(bright + 1.596 * (v - 128)), blue = byte_of(bright + 2.018 * (u - 128));
			uint8_t green = byte_of(bright - 0.813 * (v - 128) - 0.391 * (u - 128));
			uint8_t *pixel = to + (size_t)y * row;
			size_t colour = (size_t)(y / 2) * colour_row + x / 2, pair = (size_t)(y / 2) * row + x / 2 * 2;
			switch (h->format) {
			case V4L2_PIX_FMT_YUYV: pixel[2 * x] = luma; pixel[2 * x + 1] = (uint8_t)(x % 2 ? v : u); break;
			case V4L2_PIX_FMT_YVYU: pixel[2 * x] = luma; pixel[2 * x + 1] = (uint8_t)(x % 2 ? u : v); break;
			case V4L2_PIX_FMT_UYVY: pixel[2 * x + 1] = luma; pixel[2 * x] = (uint8_t)(x % 2 ? v : u); break;
			case V4L2_PIX_FMT_RGB24: pixel[3 * x] = red; pixel[3 * x + 1] = green; pixel[3 * x + 2] = blue; break;
			case V4L2_PIX_FMT_BGR24: pixel[3 * x] = blue; pixel[3 * x + 1] = green; pixel[3 * x + 2] = red; break;
			case V4L2_PIX_FMT_NV12: pixel[x] = luma; first[pair] = (uint8_t)u; first[pair + 1] = (uint8_t)v; break;
			case V4L2_PIX_FMT_NV21: pixel[x] = luma; first[pair] = (uint8_t)v; first[pair + 1] = (uint8_t)u; break;
			case V4L2_PIX_FMT_YUV420: pixel[x] = luma; first[colour] = (uint8_t)u; second[colour] = (uint8_t)v; break;
			case V4L2_PIX_FMT_YVU420: pixel[x] = luma; first[colour] = (uint8_t)v; second[colour] = (uint8_t)u; break;
			default: pixel[x] = luma;
			}
		}
	return size;
}

static size_t copy_jpeg(const struct handle *h, uint64_t sequence, const struct timespec *now, uint8_t *to)
{
	const struct jpeg *jpeg = &h->jpegs[sequence % (uint64_t)h->jpeg_count];
	size_t length = jpeg->length, stamp = h->stamp ? STAMP_LENGTH : 0;
	char text[STAMP_LENGTH];
	if (length > h->buffer_size - stamp) length = h->buffer_size - stamp;
	memcpy(to + stamp, jpeg->data, length);
	if (stamp) {
		uint64_t ns = (uint64_t)now->tv_sec * 1000000000u + (uint64_t)now->tv_nsec;
		memcpy(to, "\xff\xd8\xff\xfe\x00\x26", 6);
		snprintf(text, sizeof text, "FAKE%016jx%016jx", (uintmax_t)sequence, (uintmax_t)ns);
		memcpy(to + 6, text, STAMP_LENGTH - 4);
	}
	return length + stamp;
}

static void deliver(struct handle *h, uint64_t sequence)
{
	struct v4l2_buffer buffer = h->queued[0];
	memmove(h->queued, h->queued + 1, sizeof buffer * (size_t)--h->queued_count);
	uint8_t *to = h->memory + buffer.m.offset;
	const char *state = h->state;
	struct timespec now;
	size_t length;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (is_raw(h)) {
		if (!(h->drawn & 1u << buffer.index)) h->raw_size = draw_raw(h, to);
		h->drawn |= 1u << buffer.index;
		length = h->raw_size;
	} else {
		length = copy_jpeg(h, sequence, &now, to);
	}
	if (!strcmp(state, "corrupt") && sequence % 2) length /= 2;
	if (!strcmp(state, "broken")) to[0] = 0;
	if (!strcmp(state, "endless")) length -= 2;
	if (!strcmp(state, "error") && sequence % 2) buffer.flags |= V4L2_BUF_FLAG_ERROR;
	if (strcmp(state, "no-clock")) {
		buffer.flags |= V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
		buffer.timestamp.tv_sec = now.tv_sec;
		buffer.timestamp.tv_usec = now.tv_nsec / 1000;
	}
	buffer.bytesused = (uint32_t)length;
	buffer.sequence = (uint32_t)sequence;
	h->done[h->done_count++] = buffer;
	if (write(h->bell, "", 1) != 1) perror("fakev4l");
}

static void *feed(void *argument)
{
	struct handle *h = argument;
	struct timespec due;
	if (h->priority) pthread_setschedparam(pthread_self(), SCHED_FIFO, &(struct sched_param){ .sched_priority = h->priority });
	pthread_setname_np(pthread_self(), "fakev4l");
	clock_gettime(CLOCK_MONOTONIC, &due);
	for (uint64_t sequence = 0;; sequence++) {
		char state[sizeof h->state];
		due.tv_nsec += h->every ? 1000000l * h->every : 1000000000l / h->fps;
		due.tv_sec += due.tv_nsec / 1000000000l;
		due.tv_nsec %= 1000000000l;
		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR) continue;
		state_now(h, state, sizeof state);
		pthread_mutex_lock(&lock);
		int stop = h->stop;
		memcpy(h->state, state, sizeof state);
		if (!stop && !strcmp(state, "gone") && h->bell >= 0) {
			real_close(h->bell);
			h->bell = -1;
		}
		int has_frame = is_raw(h) || h->jpeg_count;
		if (!stop && h->bell >= 0 && has_frame && h->queued_count && strcmp(state, "freeze")) deliver(h, sequence);
		pthread_mutex_unlock(&lock);
		if (stop) return NULL;
	}
}

/* With the lock held, which it gives away while it waits for the feeder. */
static void stop_streaming(struct handle *h)
{
	char byte;
	if (!h->streaming) return;
	h->stop = 1;
	pthread_mutex_unlock(&lock);
	pthread_join(h->feeder, NULL);
	pthread_mutex_lock(&lock);
	for (; h->done_count; h->done_count--)
		if (read(h->fd, &byte, 1) < 0) break;
	h->streaming = h->stop = h->queued_count = h->done_count = 0;
}

static int start_streaming(struct handle *h)
{
	sigset_t all, old;
	if (!h->buffer_count) return -EINVAL;
	if (h->streaming) return 0;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	int failed = pthread_create(&h->feeder, NULL, feed, h);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	h->streaming = !failed;
	snprintf(h->state, sizeof h->state, "run");
	return -failed;
}

/* ---- ioctls, with the lock held; they return 0 or -errno ----------------- */

/* Nodes that capture and are on no USB bus: what a Pi has of its own, and what somebody adds. */
static const struct {
	const char *kind, *driver, *card, *bus;
} others[] = {
	{"sensor", "unicam", "unicam", "platform:fe801000.csi"},
	{"cfe", "rp1-cfe", "rp1-cfe", "platform:1f00110000.csi"},
	{"isp", "bcm2835-isp", "bcm2835-isp", "platform:bcm2835-isp"},
	{"legacy", "bm2835 mmal", "mmal service 16.1", "platform:bcm2835-v4l2-0"},
	{"pci", "HDMI", "HDMI Capture", "PCI:0000:01:00.0"},
	{"loopback", "v4l2 loopback", "Dummy video device (0x0000)", "platform:v4l2loopback-000"},
};

static int query_capabilities(const struct handle *h, struct v4l2_capability *capability)
{
	memset(capability, 0, sizeof *capability);
	uint32_t kinds = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_META_CAPTURE; /* of the whole device, as uvcvideo says */
	strcpy((char *)capability->driver, "uvcvideo");
	strcpy((char *)capability->card, "Fake Camera: Fake Camera");
	strcpy((char *)capability->bus_info, "usb-0000:01:00.0-1.2");
	capability->device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
	if (!strcmp(h->kind, "codec")) {
		kinds = V4L2_CAP_VIDEO_M2M_MPLANE;
		strcpy((char *)capability->driver, "bcm2835-codec");
		strcpy((char *)capability->card, "bcm2835-codec-decode");
		strcpy((char *)capability->bus_info, "platform:bcm2835-codec");
		capability->device_caps = V4L2_CAP_VIDEO_M2M_MPLANE | V4L2_CAP_STREAMING;
	} else if (!strcmp(h->kind, "planes")) {
		kinds = V4L2_CAP_VIDEO_CAPTURE_MPLANE;
		capability->device_caps = V4L2_CAP_VIDEO_CAPTURE_MPLANE | V4L2_CAP_STREAMING;
	} else if (!strcmp(h->kind, "metadata")) {
		capability->device_caps = V4L2_CAP_META_CAPTURE | V4L2_CAP_STREAMING;
	}
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		if (!strcmp(h->kind, others[i].kind)) {
			strcpy((char *)capability->driver, others[i].driver);
			strcpy((char *)capability->card, others[i].card);
			strcpy((char *)capability->bus_info, others[i].bus);
		}
	capability->capabilities = capability->device_caps | kinds | V4L2_CAP_DEVICE_CAPS;
	return 0;
}

static int enumerate_formats(const struct handle *h, struct v4l2_fmtdesc *format)
{
	if (format->type != V4L2_BUF_TYPE_VIDEO_CAPTURE || format->index >= (unsigned)h->format_count) return -EINVAL;
	format->pixelformat = h->formats[format->index];
	format->flags = format->pixelformat == V4L2_PIX_FMT_MJPEG ? V4L2_FMT_FLAG_COMPRESSED : 0;
	snprintf((char *)format->description, sizeof format->description, "%.4s", (char *)&format->pixelformat);
	return 0;
}

static int enumerate_sizes(const struct handle *h, struct v4l2_frmsizeenum *size)
{
	uint32_t index = size->index;
	if (index >= (unsigned)h->size_count) return -EINVAL;
	size->type = V4L2_FRMSIZE_TYPE_DISCRETE;
	size->discrete.width = h->sizes[index][0];
	size->discrete.height = h->sizes[index][1];
	return 0;
}

static int enumerate_rates(const struct handle *h, struct v4l2_frmivalenum *rate)
{
	if (rate->index || rate->width != h->width || rate->height != h->height) return -EINVAL;
	rate->type = V4L2_FRMIVAL_TYPE_DISCRETE;
	rate->discrete = (struct v4l2_fract){1, h->fps};
	return 0;
}

static int format(struct handle *h, unsigned long request, struct v4l2_format *wanted)
{
	if (wanted->type != V4L2_BUF_TYPE_VIDEO_CAPTURE) return -EINVAL;
	struct v4l2_pix_format *pixels = &wanted->fmt.pix;
	uint32_t given = h->format;
	for (int i = 0; request != VIDIOC_G_FMT && i < h->format_count; i++)
		if (h->formats[i] == pixels->pixelformat) given = pixels->pixelformat;
	if (request == VIDIOC_S_FMT) {
		if (h->buffer_count || state_is(h, "busy")) return -EBUSY;
		h->format = given;
		int large = h->size_count > 1 && pixels->width == h->sizes[1][0] && pixels->height == h->sizes[1][1];
		set_size(h, large);
	}
	memset(pixels, 0, sizeof *pixels);
	pixels->width = h->width;
	pixels->height = h->height;
	pixels->pixelformat = given;
	pixels->field = V4L2_FIELD_NONE;
	pixels->bytesperline = row_bytes(h, given);
	pixels->sizeimage = (uint32_t)image_size(h);
	pixels->colorspace = V4L2_COLORSPACE_SRGB;
	return 0;
}

static int rate(const struct handle *h, struct v4l2_streamparm *parameters)
{
	if (parameters->type != V4L2_BUF_TYPE_VIDEO_CAPTURE) return -EINVAL;
	memset(&parameters->parm, 0, sizeof parameters->parm);
	parameters->parm.capture.capability = V4L2_CAP_TIMEPERFRAME;
	parameters->parm.capture.timeperframe = (struct v4l2_fract){1, h->fps};
	return 0;
}

static void free_buffers(struct handle *h)
{
	if (h->memory) munmap(h->memory, h->buffer_size * h->buffer_count);
	if (h->memfd >= 0) real_close(h->memfd);
	h->memory = NULL;
	h->memfd = -1;
	h->buffer_count = 0;
	h->drawn = 0;
}

static int request_buffers(struct handle *h, struct v4l2_requestbuffers *request)
{
	if (request->type != V4L2_BUF_TYPE_VIDEO_CAPTURE || request->memory != V4L2_MEMORY_MMAP) return -EINVAL;
	if (h->streaming || state_is(h, "busy")) return -EBUSY;
	free_buffers(h);
	if (!request->count) return 0;
	if (request->count > MAX_BUFFERS) request->count = MAX_BUFFERS;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	h->buffer_size = (image_size(h) + page - 1) / page * page;
	size_t size = h->buffer_size * request->count;
	h->memfd = memfd_create("fakev4l", MFD_CLOEXEC);
	if (h->memfd < 0 || ftruncate(h->memfd, (off_t)size)) return -ENOMEM;
	h->memory = real_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, h->memfd, 0);
	if (h->memory == MAP_FAILED) {
		h->memory = NULL;
		return -ENOMEM;
	}
	h->buffer_count = request->count;
	return 0;
}

static int query_buffer(const struct handle *h, struct v4l2_buffer *buffer)
{
	uint32_t index = buffer->index;
	if (buffer->type != V4L2_BUF_TYPE_VIDEO_CAPTURE || index >= h->buffer_count) return -EINVAL;
	memset(buffer, 0, sizeof *buffer);
	buffer->index = index;
	buffer->type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
	buffer->memory = V4L2_MEMORY_MMAP;
	buffer->field = V4L2_FIELD_NONE;
	buffer->length = (uint32_t)h->buffer_size;
	buffer->m.offset = (uint32_t)(index * h->buffer_size);
	return 0;
}

static int queue_buffer(struct handle *h, struct v4l2_buffer *buffer)
{
	for (int i = 0; i < h->queued_count; i++)
		if (h->queued[i].index == buffer->index) return -EINVAL;
	int failed = query_buffer(h, buffer);
	if (!failed) h->queued[h->queued_count++] = *buffer;
	return failed;
}

static int enumerate_inputs(struct v4l2_input *input)
{
	if (input->index) return -EINVAL;
	memset(input, 0, sizeof *input);
	strcpy((char *)input->name, "Camera 1");
	input->type = V4L2_INPUT_TYPE_CAMERA;
	return 0;
}

/* ---- controls: as a webcam has them, anew with each opening ---------------- */

static const char *const lines[] = {"Disabled", "50 Hz", "60 Hz", NULL};
static const char *const modes[] = {NULL, "Manual Mode", NULL, "Aperture Priority Mode"};

static const struct control {
	uint32_t id, type, flags;
	const char *name;
	int32_t minimum, maximum, step, initial;
	const char *const *menu;
	int ruled_by; /* inactive unless the value at this index is `free_at` */
	int32_t free_at;
} controls[] = {
	{V4L2_CID_USER_CLASS, V4L2_CTRL_TYPE_CTRL_CLASS, V4L2_CTRL_FLAG_READ_ONLY, "User Controls", 0, 0, 0, 0, NULL, -1, 0},
	{V4L2_CID_BRIGHTNESS, V4L2_CTRL_TYPE_INTEGER, 0, "Brightness", -64, 64, 1, 0, NULL, -1, 0},
	{V4L2_CID_CONTRAST, V4L2_CTRL_TYPE_INTEGER, 0, "Contrast", 0, 95, 5, 50, NULL, -1, 0},
	{V4L2_CID_HUE, V4L2_CTRL_TYPE_INTEGER, V4L2_CTRL_FLAG_DISABLED, "Hue", 0, 10, 1, 0, NULL, -1, 0},
	{V4L2_CID_AUTO_WHITE_BALANCE, V4L2_CTRL_TYPE_BOOLEAN, 0, "White Balance, Automatic", 0, 1, 1, 1, NULL, -1, 0},
	{V4L2_CID_POWER_LINE_FREQUENCY, V4L2_CTRL_TYPE_MENU, 0, "Power Line Frequency", 0, 2, 0, 1, lines, -1, 0},
	{V4L2_CID_WHITE_BALANCE_TEMPERATURE, V4L2_CTRL_TYPE_INTEGER, 0, "White Balance Temperature", 2800, 6500, 10, 4600, NULL, 4, 0},
	{V4L2_CID_EXPOSURE_AUTO, V4L2_CTRL_TYPE_MENU, 0, "Auto Exposure", 0, 3, 0, 3, modes, -1, 0},
	{V4L2_CID_EXPOSURE_ABSOLUTE, V4L2_CTRL_TYPE_INTEGER, 0, "Exposure Time, Absolute", 3, 2047, 1, 250, NULL, 7, 1},
	{V4L2_CID_PAN_RESET, V4L2_CTRL_TYPE_BUTTON, V4L2_CTRL_FLAG_WRITE_ONLY, "Pan, Reset", 0, 0, 0, 0, NULL, -1, 0},
	{V4L2_CID_PRIVACY, V4L2_CTRL_TYPE_BOOLEAN, V4L2_CTRL_FLAG_READ_ONLY, "Privacy", 0, 1, 1, 0, NULL, -1, 0},
};
#define CONTROL_COUNT ((int)(sizeof controls / sizeof *controls))

static int control_index(uint32_t id)
{
	for (int i = 0; i < CONTROL_COUNT; i++)
		if (controls[i].id == id) return i;
	return -1;
}

static int query_control(const struct handle *h, struct v4l2_queryctrl *query)
{
	int index = control_index(query->id);
	if (query->id & V4L2_CTRL_FLAG_NEXT_CTRL) {
		for (index = 0; index < CONTROL_COUNT && controls[index].id <= (query->id & ~V4L2_CTRL_FLAG_NEXT_CTRL);) index++;
		if (index == CONTROL_COUNT) return -EINVAL;
	}
	if (index < 0) return -EINVAL;
	const struct control *control = &controls[index];
	int inactive = control->ruled_by >= 0 && h->values[control->ruled_by] != control->free_at;
	memset(query, 0, sizeof *query);
	query->id = control->id;
	query->type = control->type;
	query->flags = control->flags | (inactive ? V4L2_CTRL_FLAG_INACTIVE : 0);
	query->minimum = control->minimum;
	query->maximum = control->maximum;
	query->step = control->step;
	query->default_value = control->initial;
	snprintf((char *)query->name, sizeof query->name, "%s", control->name);
	return 0;
}

static int query_menu(struct v4l2_querymenu *query)
{
	int index = control_index(query->id);
	if (index < 0 || !controls[index].menu || (int32_t)query->index > controls[index].maximum) return -EINVAL;
	const char *name = controls[index].menu[query->index];
	if (!name) return -EINVAL;
	snprintf((char *)query->name, sizeof query->name, "%s", name);
	return 0;
}

static int get_control(const struct handle *h, struct v4l2_control *asked)
{
	int index = control_index(asked->id);
	if (index < 0) return -EINVAL;
	if (controls[index].flags & V4L2_CTRL_FLAG_WRITE_ONLY) return -EACCES;
	asked->value = h->values[index];
	return 0;
}

static int set_control(struct handle *h, struct v4l2_control *wanted)
{
	int index = control_index(wanted->id);
	if (index < 0) return -EINVAL;
	const struct control *control = &controls[index];
	if (control->flags & V4L2_CTRL_FLAG_READ_ONLY) return -EACCES;
	char state[sizeof h->state];
	state_now(h, state, sizeof state); /* not that of the last frame: a control is set as soon as it is sent */
	if (!strcmp(state, "stubborn")) return -EIO;
	if (!strcmp(state, "stuck")) {
		pthread_mutex_unlock(&lock);
		for (;;) pause();
	}
	int32_t value = wanted->value < control->minimum ? control->minimum : wanted->value;
	if (value > control->maximum) value = control->maximum;
	if (control->step > 1) value -= (value - control->minimum) % control->step;
	h->values[index] = wanted->value = value;
	return 0;
}

static int answer(struct handle *h, unsigned long request, void *argument)
{
	switch (request) {
	case VIDIOC_QUERYCAP: return query_capabilities(h, argument);
	case VIDIOC_ENUM_FMT: return enumerate_formats(h, argument);
	case VIDIOC_ENUM_FRAMESIZES: return enumerate_sizes(h, argument);
	case VIDIOC_ENUM_FRAMEINTERVALS: return enumerate_rates(h, argument);
	case VIDIOC_G_FMT:
	case VIDIOC_TRY_FMT:
	case VIDIOC_S_FMT: return format(h, request, argument);
	case VIDIOC_G_PARM:
	case VIDIOC_S_PARM: return rate(h, argument);
	case VIDIOC_ENUMINPUT: return enumerate_inputs(argument);
	case VIDIOC_G_INPUT: *(int *)argument = 0; return 0;
	case VIDIOC_S_INPUT: return *(int *)argument ? -EINVAL : 0;
	case VIDIOC_QUERYCTRL: return query_control(h, argument);
	case VIDIOC_QUERYMENU: return query_menu(argument);
	case VIDIOC_G_CTRL: return get_control(h, argument);
	case VIDIOC_S_CTRL: return set_control(h, argument);
	case VIDIOC_REQBUFS: return request_buffers(h, argument);
	case VIDIOC_QUERYBUF: return query_buffer(h, argument);
	case VIDIOC_QBUF: return queue_buffer(h, argument);
	case VIDIOC_STREAMON: return state_is(h, "full") ? -ENOSPC : start_streaming(h);
	case VIDIOC_STREAMOFF: stop_streaming(h); return 0;
	}
	return -ENOTTY;
}

static int dequeue_buffer(struct handle *h, struct v4l2_buffer *buffer)
{
	char byte;
	if (!h->streaming) return -EINVAL;
	if (state_is(h, "eio")) return -EIO;
	pthread_mutex_unlock(&lock);
	ssize_t got = read(h->fd, &byte, 1); /* waits or says EAGAIN, as the program opened the node */
	int failed = got < 0 ? -errno : got == 0 ? -ENODEV : 0;
	pthread_mutex_lock(&lock);
	if (failed) return failed;
	*buffer = h->done[0];
	memmove(h->done, h->done + 1, sizeof *buffer * (size_t)--h->done_count);
	return 0;
}

static struct handle *find(int fd)
{
	for (int i = 0; fd >= 0 && i < MAX_HANDLES; i++)
		if (handles[i] && handles[i]->fd == fd) return handles[i];
	return NULL;
}

/* ---- what takes the C library's place ------------------------------------ */

static int open_node(const char *path, int flags)
{
	int ends[2], slot = 0;
	char text[1024];
	if (read_node(path, text, sizeof text)) return -1; /* errno says it: missing, or no permission */
	struct handle *h = calloc(1, sizeof *h);
	if (!h || pipe2(ends, O_CLOEXEC | (flags & O_NONBLOCK))) {
		free(h);
		errno = ENOMEM;
		return -1;
	}
	snprintf(h->node, sizeof h->node, "%s", path);
	describe(h, text);
	for (int i = 0; i < CONTROL_COUNT; i++) h->values[i] = controls[i].initial;
	h->fd = ends[0];
	h->bell = ends[1];
	h->memfd = -1;
	pthread_mutex_lock(&lock);
	while (slot < MAX_HANDLES && handles[slot]) slot++;
	if (slot < MAX_HANDLES) handles[slot] = h;
	pthread_mutex_unlock(&lock);
	if (slot < MAX_HANDLES) return h->fd;
	real_close(ends[0]);
	real_close(ends[1]);
	free(h);
	errno = EMFILE;
	return -1;
}

static int open_any(int at, const char *path, int flags, mode_t mode)
{
	char resolved[PATH_MAX];
	INITIALIZE();
	size_t length = strlen(folder);
	/* devices are opened to read and write, and nothing else in the folder is */
	if (length && (flags & O_ACCMODE) == O_RDWR && !(flags & O_CREAT) && realpath(path, resolved) &&
	    !strncmp(resolved, folder, length) && resolved[length] == '/')
		return open_node(resolved, flags);
	return real_openat(at, path, flags, mode);
}

#define MODE(mode)                                 \
	mode_t mode = 0;                           \
	if (flags & (O_CREAT | O_TMPFILE)) {       \
		va_list rest;                      \
		va_start(rest, flags);             \
		mode = va_arg(rest, mode_t);       \
		va_end(rest);                      \
	}

int open(const char *path, int flags, ...) { MODE(mode) return open_any(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(mode) return open_any(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(mode) return open_any(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(mode) return open_any(at, path, flags | O_LARGEFILE, mode); }

int close(int fd)
{
	INITIALIZE();
	pthread_mutex_lock(&lock);
	struct handle *h = find(fd);
	if (h) {
		stop_streaming(h);
		for (int i = 0; i < MAX_HANDLES; i++)
			if (handles[i] == h) handles[i] = NULL;
		free_buffers(h);
		if (h->bell >= 0) real_close(h->bell);
		for (int size = 0; size < 2; size++)
			for (int i = 0; i < h->jpeg_counts[size]; i++) free(h->all_jpegs[size][i].data);
		free(h);
	}
	pthread_mutex_unlock(&lock);
	return real_close(fd);
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list rest;
	va_start(rest, request);
	void *argument = va_arg(rest, void *);
	va_end(rest);
	INITIALIZE();
	pthread_mutex_lock(&lock);
	struct handle *h = find(fd);
	int result = 0;
	if (h) {
		request = (unsigned)request; /* Python passes it as a signed int */
		if (request != VIDIOC_STREAMOFF && state_is(h, "gone")) result = -ENODEV;
		else if (request == VIDIOC_DQBUF) result = dequeue_buffer(h, argument);
		else result = answer(h, request, argument);
	}
	pthread_mutex_unlock(&lock);
	if (!h) return real_ioctl(fd, request, argument);
	if (result < 0) errno = -result;
	return result < 0 ? -1 : 0;
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	INITIALIZE();
	pthread_mutex_lock(&lock);
	struct handle *h = find(fd);
	if (h) fd = h->memfd;
	pthread_mutex_unlock(&lock);
	return real_mmap(address, length, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	return mmap(address, length, protection, flags, fd, offset);
}
