/* Records what a process does to the files below one directory, in the order in which it is done.

   Preloaded. RECORDER_ROOT is the directory, RECORDER_LOG the file that records are appended to. A record is a kind (one
   byte), a handle (8 bytes), a number (8 bytes), a length (4 bytes), little-endian, and so many bytes: a path, or data.

   O open, number: whether it was made   W written at number     D the same, through a descriptor that syncs writes
   T truncated to number                 S synced                Y directory synced, path
   R renamed, old NUL new                U unlinked              M directory made

   One lock is held around each call and its record, so the order of records is that of the calls. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 65536
#define IS_DIRECTORY 1
#define SYNCS 2

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t handles[FDS];
static char kinds[FDS];
static char directories[FDS][512];
static uint64_t last_handle;
static int log_fd = -1;

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name)) dlsym(RTLD_NEXT, #name)

static int below_root(const char *path) {
    const char *root = getenv("RECORDER_ROOT");
    size_t length = root ? strlen(root) : 0;
    return length && path && strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static void put(const void *bytes, size_t length) {
    while (length) {
        ssize_t done = syscall(SYS_write, log_fd, bytes, length);
        if (done <= 0) abort();
        bytes = (const char *) bytes + done;
        length -= (size_t) done;
    }
}

static void record(char kind, uint64_t handle, uint64_t number, const void *bytes, uint32_t length) {
    char head[21];
    if (log_fd < 0) {
        const char *path = getenv("RECORDER_LOG");
        log_fd = (int) syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (log_fd < 0) abort();
    }
    head[0] = kind;
    memcpy(head + 1, &handle, 8);
    memcpy(head + 9, &number, 8);
    memcpy(head + 17, &length, 4);
    put(head, sizeof head);
    put(bytes, length);
}

static uint64_t tracked(int fd) { return fd >= 0 && fd < FDS && kinds[fd] != IS_DIRECTORY ? handles[fd] : 0; }

static int opened(int fd, const char *path, int flags, int existed) {
    struct stat found;
    if (fd < 0 || fd >= FDS || (flags & O_TMPFILE) == O_TMPFILE || fstat(fd, &found) != 0) return fd;
    handles[fd] = ((uint64_t) getpid() << 32) | ++last_handle;
    kinds[fd] = 0;
    if (S_ISDIR(found.st_mode)) {
        kinds[fd] = IS_DIRECTORY;
        snprintf(directories[fd], sizeof directories[fd], "%s", path);
        return fd;
    }
    if (flags & O_DSYNC) kinds[fd] = SYNCS;
    record('O', handles[fd], !existed, path, (uint32_t) strlen(path));
    if ((flags & O_TRUNC) && existed) record('T', handles[fd], 0, "", 0);
    return fd;
}

#define OPEN(call) \
    struct stat before; \
    int fd, existed; \
    if (!below_root(path)) return call; \
    pthread_mutex_lock(&lock); \
    existed = lstat(path, &before) == 0; \
    fd = opened(call, path, flags, existed); \
    pthread_mutex_unlock(&lock); \
    return fd

#define MODE \
    int mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { \
        va_list more; \
        va_start(more, flags); \
        mode = va_arg(more, int); \
        va_end(more); \
    }

int open(const char *path, int flags, ...) { REAL(open); MODE OPEN(real(path, flags, mode)); }
int open64(const char *path, int flags, ...) { REAL(open64); MODE OPEN(real(path, flags, mode)); }
int openat(int at, const char *path, int flags, ...) { REAL(openat); MODE OPEN(real(at, path, flags, mode)); }
int openat64(int at, const char *path, int flags, ...) { REAL(openat64); MODE OPEN(real(at, path, flags, mode)); }

int close(int fd) {
    REAL(close);
    int result;
    if (fd < 0 || fd >= FDS || !handles[fd]) return real(fd);
    pthread_mutex_lock(&lock);
    handles[fd] = 0;
    result = real(fd);
    pthread_mutex_unlock(&lock);
    return result;
}

static void wrote(int fd, off_t at, const void *bytes, ssize_t length) {
    if (length > 0) record(kinds[fd] == SYNCS ? 'D' : 'W', handles[fd], (uint64_t) at, bytes, (uint32_t) length);
}

static void wrote_pieces(int fd, off_t at, const struct iovec *pieces, int count, ssize_t length) {
    for (int index = 0; index < count && length > 0; index++) {
        ssize_t part = (ssize_t) pieces[index].iov_len < length ? (ssize_t) pieces[index].iov_len : length;
        wrote(fd, at, pieces[index].iov_base, part);
        at += part;
        length -= part;
    }
}

#define WRITE(call, at, note) \
    ssize_t done; \
    int why; \
    if (!tracked(fd)) return call; \
    pthread_mutex_lock(&lock); \
    { \
        off_t place = at; \
        done = call; \
        why = errno; \
        (void) place; \
        note; \
    } \
    pthread_mutex_unlock(&lock); \
    errno = why; \
    return done

ssize_t write(int fd, const void *bytes, size_t length) {
    REAL(write);
    WRITE(real(fd, bytes, length), lseek(fd, 0, SEEK_CUR), wrote(fd, place, bytes, done));
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    REAL(pwrite);
    WRITE(real(fd, bytes, length, offset), offset, wrote(fd, place, bytes, done));
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    REAL(pwrite64);
    WRITE(real(fd, bytes, length, offset), offset, wrote(fd, place, bytes, done));
}
ssize_t writev(int fd, const struct iovec *pieces, int count) {
    REAL(writev);
    WRITE(real(fd, pieces, count), lseek(fd, 0, SEEK_CUR), wrote_pieces(fd, place, pieces, count, done));
}
ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t offset) {
    REAL(pwritev);
    WRITE(real(fd, pieces, count, offset), offset, wrote_pieces(fd, place, pieces, count, done));
}

/* What follows returns 0 when it was done; the record says what. */
#define DO(watched, call, note) \
    int result, why; \
    if (!(watched)) return call; \
    pthread_mutex_lock(&lock); \
    result = call; \
    why = errno; \
    if (result == 0) { note; } \
    pthread_mutex_unlock(&lock); \
    errno = why; \
    return result

static void record_path(char kind, const char *path) { record(kind, 0, 0, path, (uint32_t) strlen(path)); }

static void synced(int fd) {
    if (kinds[fd] == IS_DIRECTORY) record_path('Y', directories[fd]);
    else record('S', handles[fd], 0, "", 0);
}

static void renamed(const char *old, const char *fresh) {
    char both[2048];
    int length = snprintf(both, sizeof both, "%s%c%s", old, 0, fresh);
    record('R', 0, 0, both, (uint32_t) length);
}

static void allocated(int fd) {
    struct stat found;
    if (fstat(fd, &found) == 0) record('T', handles[fd], (uint64_t) found.st_size, "", 0);
}

#define KNOWN(fd) ((fd) >= 0 && (fd) < FDS && handles[fd])

int fsync(int fd) { REAL(fsync); DO(KNOWN(fd), real(fd), synced(fd)); }
int fdatasync(int fd) { REAL(fdatasync); DO(KNOWN(fd), real(fd), synced(fd)); }
int ftruncate(int fd, off_t size) { REAL(ftruncate); DO(tracked(fd), real(fd, size), allocated(fd)); }
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64); DO(tracked(fd), real(fd, size), allocated(fd)); }
int posix_fallocate(int fd, off_t at, off_t length) {
    REAL(posix_fallocate);
    DO(tracked(fd), real(fd, at, length), allocated(fd));
}
int posix_fallocate64(int fd, off64_t at, off64_t length) {
    REAL(posix_fallocate64);
    DO(tracked(fd), real(fd, at, length), allocated(fd));
}
int rename(const char *old, const char *fresh) { REAL(rename); DO(below_root(old), real(old, fresh), renamed(old, fresh)); }
int unlink(const char *path) { REAL(unlink); DO(below_root(path), real(path), record_path('U', path)); }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); DO(below_root(path), real(path, mode), record_path('M', path)); }
