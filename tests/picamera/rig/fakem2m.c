/*
 * The hardware JPEG encoder of a Raspberry Pi 0 to 4 for machines that have none: under LD_PRELOAD, /dev/videoN is the
 * text file videoN in the folder $FAKEM2M_DEV. If the file is missing, so is the node. It stands for the kernel's
 * bcm2835-v4l2-codec in its role `encode`: picamera2's own V4L2Encoder and MJPEGEncoder run on it, and what the kernel
 * refuses is refused with the kernel's errno. Its pictures are real JPEGs. The file holds words `key=value`:
 *
 *   card=bcm2835-codec-encode   the name that QUERYCAP gives; every other name is a device that is no encoder
 *   codec=MJPG       also `H264`: the firmware has no MJPEG codec, and the driver replaces the format
 *   memory=some      also `none`: no CMA memory is left, REQBUFS fails with ENOMEM
 *   stall=N          after N pictures of one opening no buffer comes back
 *   picture_ms=N     time that one picture takes
 *   stop_ms=N        time that STREAMOFF takes; the driver gives a silent VideoCore 2000
 *   piece=N          a picture of more bytes comes in several buffers; the buffers' size is always such a limit
 *   error=N          each Nth picture fails: its buffer has V4L2_BUF_FLAG_ERROR, and picture, size and time of its last use
 *   damaged=N        the header of each Nth picture is damaged
 *   quality=N        of the first picture, in place of 7
 *   deaf=1           the firmware ignores the frame rate of S_PARM
 *
 * The file is read again for each picture. What is done to a node is written to videoN.log beside it, a line each:
 *
 *   open | close PICTURES | CTRL bitrate VALUE | FMT CAPTURE 640x480 MJPG SIZE | FMT OUTPUT 640x480 YU12 STRIDE
 *   PARM 30000/1000 | BUFFERS CAPTURE COUNT | STREAMON CAPTURE | STREAMOFF CAPTURE | REFUSED CALL ERRNO
 *
 * The rate control is VideoCore's, as observed (raspberrypi/linux, waveform80/picamera#315): the bitrate and the frame
 * rate of the port give a size, and a picture that misses it by 12 % moves the quality of the next one by one step.
 * The thread that encodes is called "fakem2m": what it costs is no cost of the program's.
 *
 * cc -O2 -Wall -Wextra -shared -fPIC -o fakem2m.so fakem2m.c -l:libturbojpeg.so.0
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <pthread.h>
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

/* of turbojpeg.h, which comes with the development package only */
typedef void *tjhandle;
tjhandle tjInitCompress(void);
int tjDestroy(tjhandle);
int tjCompressFromYUVPlanes(tjhandle, const unsigned char **, int, const int *, int, int, unsigned char **,
			    unsigned long *, int, int);
void tjFree(unsigned char *);
#define TJSAMP_420 2

#define MAX_CONTEXTS 8
#define MAX_BUFFERS 32
#define MAX_SIDE 1920
#define LEAST_BITRATE 25000
#define MOST_BITRATE 25000000
#define BITRATE_STEP 25000
#define ALIGN(number, to) (((number) + (to) - 1) / (to) * (to))

struct list {
	unsigned index[MAX_BUFFERS], count;
};

struct buffer {
	int held; /* queued or done: not the program's */
	int fd;   /* of the picture; the program keeps it open */
	unsigned bytes, flags;
	struct timeval time;
};

struct queue {
	const char *name;
	struct v4l2_pix_format_mplane format;
	unsigned count, memory;
	int streaming;
	struct buffer buffers[MAX_BUFFERS];
	struct list queued, done;
};

/* One open file of a program. */
struct context {
	char node[PATH_MAX];
	int fd; /* a memfd with the capture buffers one behind the other, so that mmap() works */
	uint8_t *memory;
	size_t buffer_size;
	struct queue output, capture; /* pictures in, JPEGs out */
	int bitrate, quality;
	struct v4l2_fract frame_time;
	unsigned pictures;
	int ending;
	pthread_t codec;
	tjhandle compressor;
};

static struct context *contexts[MAX_CONTEXTS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int (*real_openat)(int, const char *, int, ...);
static int (*real_close)(int);
static int (*real_ioctl)(int, unsigned long, ...);
static int (*real_poll)(struct pollfd *, nfds_t, int);

static void initialize(void)
{
	pthread_condattr_t attributes;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&changed, &attributes);
	real_openat = (__typeof__(real_openat))dlsym(RTLD_NEXT, "openat");
	real_close = (__typeof__(real_close))dlsym(RTLD_NEXT, "close");
	real_ioctl = (__typeof__(real_ioctl))dlsym(RTLD_NEXT, "ioctl");
	real_poll = (__typeof__(real_poll))dlsym(RTLD_NEXT, "poll");
}

#define INITIALIZE() pthread_once(&once, initialize)

/* ---- the node's files ---------------------------------------------------- */

/* The value of *key* in the node's file, or *other*. */
static void setting(const struct context *c, const char *key, const char *other, char *value, size_t size)
{
	char text[1024] = "";
	size_t length = strlen(key);
	int fd = real_openat(AT_FDCWD, c->node, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		ssize_t got = read(fd, text, sizeof text - 1);
		text[got > 0 ? got : 0] = 0;
		real_close(fd);
	}
	snprintf(value, size, "%s", other);
	for (const char *word = text; *word; word += strcspn(word, " \n"), word += strspn(word, " \n"))
		if (!strncmp(word, key, length) && word[length] == '=') {
			const char *begin = word + length + 1;
			snprintf(value, size, "%.*s", (int)strcspn(begin, " \n"), begin);
		}
}

static long number(const struct context *c, const char *key, long other)
{
	char value[32];
	setting(c, key, "", value, sizeof value);
	return *value ? atol(value) : other;
}

static int is(const struct context *c, const char *key, const char *usual, const char *wanted)
{
	char value[64];
	setting(c, key, usual, value, sizeof value);
	return !strcmp(value, wanted);
}

__attribute__((format(printf, 2, 3))) static void record(const struct context *c, const char *form, ...)
{
	char path[PATH_MAX + 8], line[256];
	va_list rest;
	va_start(rest, form);
	int length = vsnprintf(line, sizeof line - 1, form, rest);
	va_end(rest);
	line[length++] = '\n';
	snprintf(path, sizeof path, "%s.log", c->node);
	int fd = real_openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0) return;
	if (write(fd, line, (size_t)length) != length) perror(path);
	real_close(fd);
}

/* ---- the codec ------------------------------------------------------------ */

static void push(struct list *list, unsigned index) { list->index[list->count++] = index; }

static unsigned pop(struct list *list)
{
	unsigned first = list->index[0];
	memmove(list->index, list->index + 1, --list->count * sizeof *list->index);
	return first;
}

/* The picture in *fd* as JPEG, for tjFree(), and its length; nothing if that fails. */
static unsigned char *compressed(struct context *c, int fd, unsigned long *length)
{
	const struct v4l2_pix_format_mplane *format = &c->output.format;
	unsigned width = format->width, height = format->height, stride = format->plane_fmt[0].bytesperline;
	unsigned wide = (width + 1) / 2, high = (height + 1) / 2;
	size_t size = format->plane_fmt[0].sizeimage;
	uint8_t *luma = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0), *chroma = NULL, *jpeg = NULL;
	if (luma == MAP_FAILED) return NULL;
	const uint8_t *second = luma + (size_t)stride * height;
	const uint8_t *planes[3] = {luma, second, second + (size_t)(stride / 2) * (height / 2)};
	int strides[3] = {(int)stride, (int)stride / 2, (int)stride / 2};
	if (format->pixelformat == V4L2_PIX_FMT_NV12 && (chroma = malloc(2 * (size_t)wide * high))) {
		uint8_t *u = chroma, *v = chroma + (size_t)wide * high;
		for (size_t y = 0; y < height / 2; y++)
			for (size_t x = 0; x < width / 2; x++) {
				u[y * wide + x] = second[y * stride + 2 * x];
				v[y * wide + x] = second[y * stride + 2 * x + 1];
			}
		planes[1] = u;
		planes[2] = v;
		strides[1] = strides[2] = (int)wide;
	}
	if (tjCompressFromYUVPlanes(c->compressor, planes, (int)width, strides, (int)height, TJSAMP_420, &jpeg, length,
				    c->quality, 0))
		*length = 0;
	free(chroma);
	munmap(luma, size);
	return jpeg;
}

static void control_rate(struct context *c, unsigned long length)
{
	double frame_time = number(c, "deaf", 0) ? 1 / 30.0 : (double)c->frame_time.numerator / c->frame_time.denominator;
	double wanted = c->bitrate / 8.0 * frame_time;
	if ((double)length > wanted * 1.12 && c->quality > 1) c->quality--;
	if ((double)length < wanted * 0.88 && c->quality < 100) c->quality++;
}

static int every(const struct context *c, const char *key)
{
	long nth = number(c, key, 0);
	return nth > 0 && c->pictures % (unsigned long)nth == 0;
}

/* Deliver the JPEG in as many buffers as it takes, *at* first; the rest is lost when no further one is queued. */
static void deliver(struct context *c, unsigned at, uint8_t *jpeg, unsigned long length, struct timeval time)
{
	struct queue *q = &c->capture;
	long piece = number(c, "piece", (long)c->buffer_size);
	if (every(c, "error")) {
		q->buffers[at].flags |= V4L2_BUF_FLAG_ERROR;
		push(&q->done, at);
		return;
	}
	if (every(c, "damaged") && length > 100) memset(jpeg + 2, 0, 98);
	if (piece > (long)c->buffer_size) piece = (long)c->buffer_size;
	for (unsigned long sent = 0;; at = pop(&q->queued)) {
		unsigned long part = length - sent < (unsigned long)piece ? length - sent : (unsigned long)piece;
		memcpy(c->memory + at * c->buffer_size, jpeg + sent, part);
		q->buffers[at].bytes = (unsigned)part;
		q->buffers[at].flags = V4L2_BUF_FLAG_KEYFRAME | V4L2_BUF_FLAG_TIMESTAMP_COPY;
		q->buffers[at].time = time;
		push(&q->done, at);
		sent += part;
		if (sent >= length || !q->queued.count) return;
	}
}

static int ready(const struct context *c)
{
	const struct queue *from = &c->output, *to = &c->capture;
	if (!from->streaming || !to->streaming || !from->queued.count || !to->queued.count) return 0;
	long stall = number(c, "stall", -1);
	return stall < 0 || c->pictures < (unsigned long)stall;
}

static void *encode(void *argument)
{
	struct context *c = argument;
	pthread_setname_np(pthread_self(), "fakem2m");
	pthread_mutex_lock(&lock);
	while (!c->ending) {
		if (!ready(c)) {
			/* not for ever: the file may end a stall */
			struct timespec until;
			clock_gettime(CLOCK_MONOTONIC, &until);
			until.tv_nsec += 50000000;
			if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
			pthread_cond_timedwait(&changed, &lock, &until);
			continue;
		}
		unsigned from = pop(&c->output.queued), to = pop(&c->capture.queued);
		struct timeval time = c->output.buffers[from].time;
		int fd = dup(c->output.buffers[from].fd);
		long milliseconds = number(c, "picture_ms", 0);
		pthread_mutex_unlock(&lock);
		if (milliseconds > 0) usleep((useconds_t)milliseconds * 1000);
		unsigned long length = 0;
		uint8_t *jpeg = compressed(c, fd, &length);
		real_close(fd);
		pthread_mutex_lock(&lock);
		/* STREAMOFF took all buffers back meanwhile */
		if (c->output.streaming && c->capture.streaming) {
			c->pictures++;
			control_rate(c, length);
			if (c->capture.format.pixelformat == V4L2_PIX_FMT_H264 && length > 5)
				memcpy(jpeg, "\0\0\0\1\x67", 5);
			deliver(c, to, jpeg, length, time);
			push(&c->output.done, from);
			pthread_cond_broadcast(&changed);
		}
		tjFree(jpeg);
	}
	pthread_mutex_unlock(&lock);
	return NULL;
}

/* ---- the driver's calls: 0 or a negative errno ------------------------------ */

static struct queue *queue_of(struct context *c, unsigned type)
{
	if (type == V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE) return &c->output;
	return type == V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE ? &c->capture : NULL;
}

static int query_capabilities(const struct context *c, struct v4l2_capability *capability)
{
	char card[32];
	setting(c, "card", "bcm2835-codec-encode", card, sizeof card);
	memset(capability, 0, sizeof *capability);
	strcpy((char *)capability->driver, "bcm2835-codec");
	snprintf((char *)capability->card, sizeof capability->card, "%s", card);
	strcpy((char *)capability->bus_info, "platform:bcm2835-codec");
	capability->device_caps = V4L2_CAP_VIDEO_M2M_MPLANE | V4L2_CAP_STREAMING;
	capability->capabilities = capability->device_caps | V4L2_CAP_DEVICE_CAPS;
	return 0;
}

static int set_control(struct context *c, struct v4l2_control *wanted)
{
	if (wanted->id != V4L2_CID_MPEG_VIDEO_BITRATE) return -EINVAL;
	int value = wanted->value < LEAST_BITRATE ? LEAST_BITRATE : wanted->value;
	if (value > MOST_BITRATE) value = MOST_BITRATE;
	c->bitrate = wanted->value = (value + BITRATE_STEP / 2) / BITRATE_STEP * BITRATE_STEP;
	record(c, "CTRL bitrate %d", c->bitrate);
	return 0;
}

static void fit_jpeg(const struct context *c, struct v4l2_pix_format_mplane *format)
{
	unsigned least = format->width * format->height > 1280 * 720 ? 768 << 10 : 512 << 10;
	int codec = format->pixelformat == V4L2_PIX_FMT_MJPEG && is(c, "codec", "MJPG", "MJPG");
	if (!codec) format->pixelformat = V4L2_PIX_FMT_H264; /* the first of the driver's list */
	if (format->plane_fmt[0].sizeimage < least) format->plane_fmt[0].sizeimage = least;
	format->plane_fmt[0].bytesperline = 0;
}

static void fit_picture(struct v4l2_pix_format_mplane *format)
{
	if (format->pixelformat != V4L2_PIX_FMT_NV12) format->pixelformat = V4L2_PIX_FMT_YUV420;
	unsigned align = format->pixelformat == V4L2_PIX_FMT_NV12 ? 32 : 64;
	unsigned stride = format->plane_fmt[0].bytesperline;
	stride = ALIGN(stride > format->width ? stride : format->width, align);
	format->plane_fmt[0].bytesperline = stride;
	format->plane_fmt[0].sizeimage = stride * format->height * 3 / 2;
}

static int set_format(struct context *c, struct v4l2_format *wanted)
{
	struct queue *q = queue_of(c, wanted->type);
	struct v4l2_pix_format_mplane *format = &wanted->fmt.pix_mp;
	if (!q) return -EINVAL;
	if (q->count) return -EBUSY;
	if (format->width > MAX_SIDE) format->width = MAX_SIDE;
	if (format->height > MAX_SIDE) format->height = MAX_SIDE;
	if (q == &c->capture) fit_jpeg(c, format);
	else fit_picture(format);
	format->num_planes = 1;
	format->field = V4L2_FIELD_NONE;
	q->format = *format;
	record(c, "FMT %s %ux%u %.4s %u", q->name, format->width, format->height, (char *)&format->pixelformat,
	       q == &c->capture ? format->plane_fmt[0].sizeimage : format->plane_fmt[0].bytesperline);
	return 0;
}

static int set_rate(struct context *c, struct v4l2_streamparm *wanted)
{
	const struct v4l2_fract *time = &wanted->parm.output.timeperframe;
	if (wanted->type != V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE || !time->numerator || !time->denominator) return -EINVAL;
	c->frame_time = *time;
	record(c, "PARM %u/%u", time->denominator, time->numerator);
	return 0;
}

static void free_capture(struct context *c)
{
	if (c->memory) munmap(c->memory, c->buffer_size * c->capture.count);
	c->memory = NULL;
}

static int request_buffers(struct context *c, struct v4l2_requestbuffers *request)
{
	struct queue *q = queue_of(c, request->type);
	if (!q || (request->memory != V4L2_MEMORY_MMAP && request->memory != V4L2_MEMORY_DMABUF)) return -EINVAL;
	if (q->streaming) return -EBUSY;
	if (q == &c->capture && request->count && is(c, "memory", "some", "none")) return -ENOMEM;
	if (request->count > MAX_BUFFERS) request->count = MAX_BUFFERS;
	if (q == &c->capture) {
		size_t page = (size_t)sysconf(_SC_PAGESIZE);
		free_capture(c);
		c->buffer_size = ALIGN(q->format.plane_fmt[0].sizeimage, page);
		size_t size = c->buffer_size * request->count;
		if (ftruncate(c->fd, (off_t)size)) return -ENOMEM;
		if (size && (c->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0)) == MAP_FAILED) {
			c->memory = NULL;
			return -ENOMEM;
		}
	}
	q->count = request->count;
	q->memory = request->memory;
	q->queued.count = q->done.count = 0;
	memset(q->buffers, 0, sizeof q->buffers);
	record(c, "BUFFERS %s %u", q->name, q->count);
	return 0;
}

static int query_buffer(struct context *c, struct v4l2_buffer *buffer)
{
	if (queue_of(c, buffer->type) != &c->capture || buffer->index >= c->capture.count) return -EINVAL;
	buffer->memory = V4L2_MEMORY_MMAP;
	buffer->length = 1;
	buffer->m.planes[0].length = c->capture.format.plane_fmt[0].sizeimage;
	buffer->m.planes[0].m.mem_offset = (uint32_t)(buffer->index * c->buffer_size);
	return 0;
}

static int queue_buffer(struct context *c, const struct v4l2_buffer *buffer)
{
	struct queue *q = queue_of(c, buffer->type);
	if (!q || buffer->index >= q->count || buffer->memory != q->memory || buffer->length < 1) return -EINVAL;
	struct buffer *mine = &q->buffers[buffer->index];
	if (mine->held) return -EINVAL;
	if (q == &c->output) {
		struct stat status;
		const struct v4l2_plane *plane = &buffer->m.planes[0];
		if (fstat(plane->m.fd, &status)) return -EBADF;
		off_t length = plane->length ? (off_t)plane->length : status.st_size;
		/* vb2: the data will not fit into the plane */
		if (length < (off_t)q->format.plane_fmt[0].sizeimage || status.st_size < length) return -EINVAL;
		mine->fd = plane->m.fd;
		mine->time = buffer->timestamp;
	}
	mine->held = 1;
	push(&q->queued, buffer->index);
	pthread_cond_broadcast(&changed);
	return 0;
}

static int dequeue_buffer(struct context *c, struct v4l2_buffer *buffer)
{
	struct queue *q = queue_of(c, buffer->type);
	if (!q || buffer->length < 1) return -EINVAL;
	while (q->streaming && !q->done.count) pthread_cond_wait(&changed, &lock);
	if (!q->streaming) return -EINVAL;
	buffer->index = pop(&q->done);
	struct buffer *mine = &q->buffers[buffer->index];
	mine->held = 0;
	buffer->flags = mine->flags;
	buffer->timestamp = mine->time;
	buffer->m.planes[0].bytesused = mine->bytes;
	buffer->m.planes[0].length = q->format.plane_fmt[0].sizeimage;
	return 0;
}

static int start_streaming(struct context *c, unsigned type)
{
	struct queue *q = queue_of(c, type);
	if (!q || !q->count) return -EINVAL;
	q->streaming = 1;
	record(c, "STREAMON %s", q->name);
	pthread_cond_broadcast(&changed);
	return 0;
}

static int stop_streaming(struct context *c, unsigned type)
{
	struct queue *q = queue_of(c, type);
	if (!q) return -EINVAL;
	long milliseconds = number(c, "stop_ms", 0);
	if (milliseconds > 0 && q->streaming) {
		pthread_mutex_unlock(&lock);
		usleep((useconds_t)milliseconds * 1000);
		pthread_mutex_lock(&lock);
	}
	q->streaming = 0;
	q->queued.count = q->done.count = 0;
	for (int i = 0; i < MAX_BUFFERS; i++) q->buffers[i].held = 0;
	record(c, "STREAMOFF %s", q->name);
	pthread_cond_broadcast(&changed);
	return 0;
}

static const char *name_of(unsigned long request)
{
	switch (request) {
	case VIDIOC_S_CTRL: return "S_CTRL";
	case VIDIOC_S_FMT: return "S_FMT";
	case VIDIOC_S_PARM: return "S_PARM";
	case VIDIOC_REQBUFS: return "REQBUFS";
	case VIDIOC_QUERYBUF: return "QUERYBUF";
	case VIDIOC_QBUF: return "QBUF";
	case VIDIOC_DQBUF: return "DQBUF";
	case VIDIOC_STREAMON: return "STREAMON";
	case VIDIOC_STREAMOFF: return "STREAMOFF";
	}
	return "unknown";
}

static int answer(struct context *c, unsigned long request, void *argument)
{
	if (request == VIDIOC_QUERYCAP) return query_capabilities(c, argument);
	if (!is(c, "card", "bcm2835-codec-encode", "bcm2835-codec-encode")) return -EINVAL;
	switch (request) {
	case VIDIOC_S_CTRL: return set_control(c, argument);
	case VIDIOC_S_FMT: return set_format(c, argument);
	case VIDIOC_S_PARM: return set_rate(c, argument);
	case VIDIOC_REQBUFS: return request_buffers(c, argument);
	case VIDIOC_QUERYBUF: return query_buffer(c, argument);
	case VIDIOC_QBUF: return queue_buffer(c, argument);
	case VIDIOC_DQBUF: return dequeue_buffer(c, argument);
	case VIDIOC_STREAMON: return start_streaming(c, *(unsigned *)argument);
	case VIDIOC_STREAMOFF: return stop_streaming(c, *(unsigned *)argument);
	}
	return -ENOTTY;
}

static struct context *find(int fd)
{
	for (int i = 0; fd >= 0 && i < MAX_CONTEXTS; i++)
		if (contexts[i] && contexts[i]->fd == fd) return contexts[i];
	return NULL;
}

/* ---- what takes the C library's place ---------------------------------------- */

static int open_node(const char *path)
{
	int file = real_openat(AT_FDCWD, path, O_RDWR | O_CLOEXEC); /* as a device is opened: permissions count */
	if (file < 0) return -1;
	real_close(file);
	struct context *c = calloc(1, sizeof *c);
	int slot = 0, fd = memfd_create("fakem2m", MFD_CLOEXEC);
	if (!c || fd < 0) {
		free(c);
		errno = ENOMEM;
		return -1;
	}
	snprintf(c->node, sizeof c->node, "%s", path);
	c->fd = fd;
	c->output.name = "OUTPUT";
	c->capture.name = "CAPTURE";
	c->bitrate = 10000000;
	c->frame_time = (struct v4l2_fract){1, 30};
	c->quality = (int)number(c, "quality", 7);
	c->compressor = tjInitCompress();
	pthread_mutex_lock(&lock);
	while (slot < MAX_CONTEXTS && contexts[slot]) slot++;
	if (slot < MAX_CONTEXTS && !pthread_create(&c->codec, NULL, encode, c)) {
		contexts[slot] = c;
		record(c, "open");
		c = NULL;
	}
	pthread_mutex_unlock(&lock);
	if (!c) return fd;
	tjDestroy(c->compressor);
	free(c);
	real_close(fd);
	errno = EMFILE;
	return -1;
}

static int open_any(int at, const char *path, int flags, mode_t mode)
{
	static const char prefix[] = "/dev/video";
	const char *folder = getenv("FAKEM2M_DEV");
	INITIALIZE();
	if (folder && !strncmp(path, prefix, sizeof prefix - 1)) {
		char node[PATH_MAX];
		snprintf(node, sizeof node, "%s/%s", folder, path + strlen("/dev/"));
		return open_node(node);
	}
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
	struct context *c = find(fd);
	if (c) {
		for (int i = 0; i < MAX_CONTEXTS; i++)
			if (contexts[i] == c) contexts[i] = NULL;
		c->ending = 1;
		c->output.streaming = c->capture.streaming = 0;
		pthread_cond_broadcast(&changed);
	}
	pthread_mutex_unlock(&lock);
	if (c) {
		pthread_join(c->codec, NULL);
		record(c, "close %u", c->pictures);
		free_capture(c);
		tjDestroy(c->compressor);
		free(c);
	}
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
	struct context *c = find(fd);
	int result = 0;
	if (c) {
		request = (unsigned)request; /* Python passes it as a signed int */
		result = answer(c, request, argument);
		if (result < 0) record(c, "REFUSED %s %s", name_of(request), strerrorname_np(-result));
	}
	pthread_mutex_unlock(&lock);
	if (!c) return real_ioctl(fd, request, argument);
	if (result < 0) errno = -result;
	return result < 0 ? -1 : 0;
}

/* v4l2_m2m_poll(): an error as long as no queue streams with a buffer in it. */
static short events(const struct context *c, short wanted)
{
	int alive = 0;
	for (int i = 0; i < MAX_BUFFERS; i++) {
		alive |= c->output.streaming && c->output.buffers[i].held;
		alive |= c->capture.streaming && c->capture.buffers[i].held;
	}
	if (!alive) return POLLERR;
	return (short)((c->output.done.count ? wanted & POLLOUT : 0) | (c->capture.done.count ? wanted & POLLIN : 0));
}

int poll(struct pollfd *fds, nfds_t count, int timeout)
{
	struct timespec until;
	INITIALIZE();
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout / 1000;
	until.tv_nsec += timeout % 1000 * 1000000L;
	if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
	pthread_mutex_lock(&lock);
	struct context *c = count == 1 ? find(fds->fd) : NULL;
	if (!c) {
		pthread_mutex_unlock(&lock);
		return real_poll(fds, count, timeout);
	}
	int failed = 0;
	while (!(fds->revents = events(c, fds->events)) && !failed)
		failed = timeout < 0 ? pthread_cond_wait(&changed, &lock) : pthread_cond_timedwait(&changed, &lock, &until);
	pthread_mutex_unlock(&lock);
	return fds->revents != 0;
}
