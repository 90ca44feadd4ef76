/*
 * The one program in the image that Podbay gives to a container engine. It uses no C library, so that the image holds
 * this file and nothing else. script/build-keeper makes the executables beside this file from it.
 *
 *   keeper pause           the first process of a pod: reaps orphans, ends on SIGTERM or SIGINT
 *   keeper connect PORT    a TCP connection to the loopback address, on stdin and stdout; "+" comes first when it is up
 *   keeper kill PID        SIGKILL to a process of the engine's machine
 *   keeper serve           file operations on the volumes mounted here, asked for on stdin, answered on stdout
 *
 * Requests and answers of `serve` are frames: a length (4 bytes, big-endian), then so many bytes. A request is one
 * letter and its arguments, each ended by a zero byte, then data. An answer is an errno (one byte) and data.
 * Containers write to the volumes too, so no operation follows a symbolic link: files.py decides what a link means.
 */

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

#if defined(__x86_64__)
enum { READ = 0, WRITE = 1, CLOSE = 3, SIGACTION = 13, KILL = 62, SOCKET = 41, CONNECT = 42, SHUTDOWN = 48, FCHMOD = 91, FCHOWN = 93,
       LSEEK = 8, GETDENTS = 217, EXIT = 231, OPENAT = 257, MKDIRAT = 258, FSTATAT = 262, UNLINKAT = 263,
       RENAMEAT = 264, SYMLINKAT = 266, READLINKAT = 267, PPOLL = 271 };
enum { O_DIRECTORY = 0200000, O_NOFOLLOW = 0400000, MODE = 6, UID = 7, GID = 8 };
__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call run\n hlt\n");
static long call(long n, long a, long b, long c, long d, long e) {
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
enum { READ = 63, WRITE = 64, CLOSE = 57, SIGACTION = 134, KILL = 129, SOCKET = 198, CONNECT = 203, SHUTDOWN = 210, FCHMOD = 52, FCHOWN = 55,
       LSEEK = 62, GETDENTS = 61, EXIT = 94, OPENAT = 56, MKDIRAT = 34, FSTATAT = 79, UNLINKAT = 35,
       RENAMEAT = 38, SYMLINKAT = 36, READLINKAT = 78, PPOLL = 73 };
enum { O_DIRECTORY = 040000, O_NOFOLLOW = 0100000, MODE = 4, UID = 6, GID = 7 };
__asm__(".globl _start\n_start: mov x0, sp\n bl run\n");
static long call(long n, long a, long b, long c, long d, long e) {
    register long x8 __asm__("x8") = n;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
    return x0;
}
#else
#error "no system call table for this architecture"
#endif

#define SYS(n, a, b, c) call(n, (long)(a), (long)(b), (long)(c), 0, 0)
#define SYS5(n, a, b, c, d, e) call(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))

enum { O_RDONLY = 0, O_WRONLY = 1, O_CREAT = 0100, O_TRUNC = 01000, O_APPEND = 02000, O_NONBLOCK = 04000,
       O_CLOEXEC = 02000000, O_PATH = 010000000 };
enum { AT_REMOVEDIR = 0x200, AT_SYMLINK_NOFOLLOW = 0x100, S_IFMT = 0170000, S_IFDIR = 0040000, S_IFLNK = 0120000 };
enum { ENOENT = 2, E2BIG = 7, EINVAL = 22, EINTR = 4, EEXIST = 17, ENOTDIR = 20, ENOTEMPTY = 39 };
enum { LIMIT = 1 << 20, DEPTH = 500, SIGCHLD = 17, SIGTERM = 15, SIGINT = 2 };

static char request[LIMIT + 1];
static u8 answer[LIMIT];

void *memset(void *to, int byte, u64 size) {
    for (u8 *p = to; size; size--) *p++ = (u8)byte;
    return to;
}

void *memcpy(void *to, const void *from, u64 size) {
    const u8 *source = from;
    for (u8 *p = to; size; size--) *p++ = *source++;
    return to;
}

static u64 length(const char *text) {
    u64 n = 0;
    while (text[n]) n++;
    return n;
}

static int same(const char *a, const char *b) {
    while (*a && *a == *b) a++, b++;
    return *a == *b;
}

static long number(const char *text, int base) {
    long value = 0;
    while (*text >= '0' && *text <= '9') value = value * base + (*text++ - '0');
    return value;
}

static u64 digits(u64 value, u8 *to) {
    u8 reversed[24];
    u64 n = 0, i = 0;
    do reversed[n++] = (u8)('0' + value % 10); while (value /= 10);
    while (n) to[i++] = reversed[--n];
    return i;
}

static void leave(int code) { for (;;) SYS(EXIT, code, 0, 0); }

static int read_all(int fd, void *to, u64 size) {
    for (u8 *p = to; size;) {
        long n = SYS(READ, fd, p, size);
        if (n == -EINTR) continue;
        if (n <= 0) return -1;
        p += n, size -= (u64)n;
    }
    return 0;
}

static long write_all(int fd, const void *from, u64 size) {
    for (const u8 *p = from; size;) {
        long n = SYS(WRITE, fd, p, size);
        if (n == -EINTR) continue;
        if (n < 0) return n;
        p += n, size -= (u64)n;
    }
    return 0;
}

/* The directory above path, reached without following links; *name is its last part. */
static long parent_of(char *path, char **name) {
    long directory = SYS5(OPENAT, -100, "/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0, 0);
    for (;;) {
        char *end = path;
        while (*end && *end != '/') end++;
        int last = !*end;
        *end = 0;
        if (!*path || same(path, ".") || same(path, "..")) {
            SYS(CLOSE, directory, 0, 0);
            return -EINVAL;
        }
        if (last) {
            *name = path;
            return directory;
        }
        long next = SYS5(OPENAT, directory, path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0, 0);
        SYS(CLOSE, directory, 0, 0);
        if (next < 0) return next;
        directory = next;
        path = end + 1;
    }
}

/* struct stat; the enumerations above tell where in it things are. */
union status { u32 words[36]; u64 longs[18]; };

static long dress(long fd, const char *mode, const char *uid, const char *gid) {
    /* The owner first: changing it clears the set-id bits. */
    long result = SYS(FCHOWN, fd, number(uid, 10), number(gid, 10));
    return result < 0 ? result : SYS(FCHMOD, fd, number(mode, 8), 0);
}

static long make_directory(long parent, char *name, char **words) {
    long result = SYS(MKDIRAT, parent, name, 0700);
    if (result < 0) return result;
    long fd = SYS5(OPENAT, parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0, 0);
    if (fd < 0) return fd;
    result = dress(fd, words[0], words[1], words[2]);
    SYS(CLOSE, fd, 0, 0);
    return result;
}

static long write_file(long parent, char *name, char **words, const char *data, u64 size) {
    int flags = O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | (words ? O_CREAT | O_TRUNC : O_APPEND);
    long fd = SYS5(OPENAT, parent, name, flags, 0600, 0);
    if (fd < 0) return fd;
    long result = write_all((int)fd, data, size);
    if (!result && words) result = dress(fd, words[0], words[1], words[2]);
    SYS(CLOSE, fd, 0, 0);
    return result;
}

struct entry { u64 inode; u64 offset; unsigned short size; u8 type; char name[]; };

static int is_self(const char *name) {
    return same(name, ".") || same(name, "..");
}

/*
 * Empties a directory. Directories in it are not entered: theirs are moved up to `top` under a number and come up
 * again, so a tree of any depth needs no stack. *count numbers them.
 */
static long empty(long fd, long top, u64 *count) {
    u8 buffer[4096];
    long got, failed = 0;
    while ((got = SYS(GETDENTS, fd, buffer, sizeof buffer)) > 0) {
        for (u8 *p = buffer; p < buffer + got; p += ((struct entry *)p)->size) {
            char *name = ((struct entry *)p)->name;
            if (is_self(name)) continue;
            long result = SYS(UNLINKAT, fd, name, 0);
            if (result >= 0 || result == -ENOENT) continue;
            if (fd != top) {
                char moved[32] = "..removed-";
                do {
                    moved[10 + digits(++*count, (u8 *)moved + 10)] = 0;
                    result = SYS5(RENAMEAT, fd, name, top, moved, 0);
                } while (result == -EEXIST || result == -ENOTEMPTY || result == -ENOTDIR);
            } else {
                long inner = SYS5(OPENAT, fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0, 0);
                if (inner < 0) { failed = result; continue; }
                result = empty(inner, top, count);
                SYS(CLOSE, inner, 0, 0);
                if (result >= 0) result = SYS(UNLINKAT, fd, name, AT_REMOVEDIR);
            }
            if (result < 0) failed = result;
        }
    }
    return got < 0 ? got : failed;
}

static long remove_tree(long parent, char *name) {
    long result = SYS(UNLINKAT, parent, name, 0);
    if (result >= 0 || result == -ENOENT) return 0;
    long fd = SYS5(OPENAT, parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0, 0);
    if (fd < 0) return result;
    u64 count = 0;
    /* What was moved up during one pass may be missed by it; every pass makes the tree flatter. */
    for (;;) {
        u64 before = count;
        result = empty(fd, fd, &count);
        long last = SYS(UNLINKAT, parent, name, AT_REMOVEDIR);
        if (last >= 0) { result = 0; break; }
        if (result < 0 || count == before) { if (result >= 0) result = last; break; }
        SYS(LSEEK, fd, 0, 0);
    }
    SYS(CLOSE, fd, 0, 0);
    return result;
}

/* Bytes of the blocks of what is in a directory; deeper than DEPTH directories it is not counted. */
static u64 blocks_under(long parent, const char *name, int depth) {
    union status status;
    if (SYS5(FSTATAT, parent, name, &status, AT_SYMLINK_NOFOLLOW, 0) < 0) return 0;
    u64 total = depth ? status.longs[8] * 512 : 0;
    if ((status.words[MODE] & S_IFMT) != S_IFDIR || depth == DEPTH) return total;
    long fd = SYS5(OPENAT, parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0, 0);
    if (fd < 0) return total;
    u8 buffer[2048];
    long got;
    while ((got = SYS(GETDENTS, fd, buffer, sizeof buffer)) > 0)
        for (u8 *p = buffer; p < buffer + got; p += ((struct entry *)p)->size)
            if (!is_self(((struct entry *)p)->name)) total += blocks_under(fd, ((struct entry *)p)->name, depth + 1);
    SYS(CLOSE, fd, 0, 0);
    return total;
}

/* Mode, user and group (three little-endian words), and for a link its target. */
static long look(long parent, char *name, u64 *size) {
    union status status;
    long result = SYS5(FSTATAT, parent, name, &status, AT_SYMLINK_NOFOLLOW, 0);
    if (result < 0) return result;
    u32 found[3] = {status.words[MODE], status.words[UID], status.words[GID]};
    memcpy(answer + *size, found, sizeof found);
    *size += sizeof found;
    if ((found[0] & S_IFMT) != S_IFLNK) return 0;
    result = SYS5(READLINKAT, parent, name, answer + *size, 4096, 0);
    if (result > 0) *size += (u64)result;
    return result < 0 ? result : 0;
}

static long list_names(long parent, char *name, u64 *size) {
    long fd = SYS5(OPENAT, parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0, 0);
    if (fd < 0) return fd;
    u8 buffer[4096];
    long got, result = 0;
    while (!result && (got = SYS(GETDENTS, fd, buffer, sizeof buffer)) > 0)
        for (u8 *p = buffer; p < buffer + got; p += ((struct entry *)p)->size) {
            char *one = ((struct entry *)p)->name;
            u64 n = length(one) + 1;
            if (is_self(one)) continue;
            if (*size + n > LIMIT) { result = -E2BIG; break; }
            memcpy(answer + *size, one, n);
            *size += n;
        }
    SYS(CLOSE, fd, 0, 0);
    return result;
}

static long read_end(long parent, char *name, long limit, u64 *size) {
    long fd = SYS5(OPENAT, parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0, 0);
    if (fd < 0) return fd;
    if (limit > LIMIT - 8) limit = LIMIT - 8;
    if (SYS(LSEEK, fd, -limit, 2) < 0) SYS(LSEEK, fd, 0, 0);
    long got = 0;
    while (limit > 0 && (got = SYS(READ, fd, answer + *size, limit)) > 0) *size += (u64)got, limit -= got;
    SYS(CLOSE, fd, 0, 0);
    return got < 0 ? got : 0;
}

static long perform(u64 size, u64 *out) {
    char *words[5] = {0};
    char *p = request + 1, *end = request + size;
    const char *counts = "m4w4a1s2n2r1l1d1u1g2";
    int wanted = 0;
    for (; *counts; counts += 2) if (*counts == request[0]) wanted = counts[1] - '0';
    for (int i = 0; i < wanted; i++) {
        words[i] = p;
        while (p < end && *p) p++;
        if (p++ >= end) return -EINVAL;
    }
    if (!wanted) return -EINVAL;
    char *name = 0, *other = 0;
    long parent = parent_of(words[0], &name), result = -EINVAL;
    if (parent < 0) return parent;
    switch (request[0]) {
    case 'm': result = make_directory(parent, name, words + 1); break;
    case 'w': result = write_file(parent, name, words + 1, p, (u64)(end - p)); break;
    case 'a': result = write_file(parent, name, 0, p, (u64)(end - p)); break;
    case 's': result = SYS(SYMLINKAT, words[1], parent, name); break;
    case 'n': {
        long target = parent_of(words[1], &other);
        result = target < 0 ? target : SYS5(RENAMEAT, parent, name, target, other, 0);
        if (target >= 0) SYS(CLOSE, target, 0, 0);
        break;
    }
    case 'r': result = remove_tree(parent, name); break;
    case 'l': result = look(parent, name, out); break;
    case 'd': result = list_names(parent, name, out); break;
    case 'u': *out += digits(blocks_under(parent, name, 0), answer + *out); result = 0; break;
    case 'g': result = read_end(parent, name, number(words[1], 10), out);
    }
    SYS(CLOSE, parent, 0, 0);
    return result;
}

static void serve(void) {
    u8 head[4];
    while (!read_all(0, head, 4)) {
        u64 size = (u64)head[0] << 24 | (u64)head[1] << 16 | (u64)head[2] << 8 | head[3];
        if (!size || size > LIMIT || read_all(0, request, size)) leave(1);
        request[size] = 0;
        u64 out = 5;
        long result = perform(size, &out);
        answer[4] = (u8)(result < 0 ? -result : 0);
        u64 n = (result < 0 ? out = 5 : out) - 4;
        answer[0] = (u8)(n >> 24), answer[1] = (u8)(n >> 16), answer[2] = (u8)(n >> 8), answer[3] = (u8)n;
        if (write_all(1, answer, out)) leave(1);
    }
    leave(0);
}

static long dial(long port) {
    u8 four[16] = {2, 0, (u8)(port >> 8), (u8)port, 127, 0, 0, 1};
    u8 six[28] = {10, 0, (u8)(port >> 8), (u8)port};
    six[23] = 1;
    long fd = SYS(SOCKET, 2, 1, 0), result = SYS(CONNECT, fd, four, sizeof four);
    if (!result) return fd;
    SYS(CLOSE, fd, 0, 0);
    fd = SYS(SOCKET, 10, 1, 0);
    if (fd < 0) return result;
    return SYS(CONNECT, fd, six, sizeof six) ? result : fd;
}

static void relay(long port) {
    long peer = dial(port);
    if (peer < 0) leave((int)-peer);
    if (write_all(1, "+", 1)) leave(1);
    struct { int fd; short events, got; } ways[2] = {{0, 1, 0}, {(int)peer, 1, 0}};
    while (ways[1].fd >= 0) {
        if (SYS5(PPOLL, ways, 2, 0, 0, 0) < 0) continue;
        for (int i = 0; i < 2; i++) {
            if (ways[i].fd < 0 || !ways[i].got) continue;
            long n = SYS(READ, ways[i].fd, answer, 65536);
            if (n == -EINTR) continue;
            if (n > 0 && !write_all(i ? 1 : (int)peer, answer, (u64)n)) continue;
            ways[i].fd = -1;
            if (!i) SYS(SHUTDOWN, peer, 1, 0);
        }
    }
    leave(0);
}

static void on_end(int signal) {
    leave(128 + signal);
}

static void set_handler(int signal, void *handler) {
    /* SA_RESTORER is demanded by one architecture and ignored by the other; on_end never returns. */
    void *action[4] = {handler, (void *)0x04000000, (void *)leave, 0};
    SYS5(SIGACTION, signal, action, 0, 8, 0);
}

static void pause_forever(void) {
    set_handler(SIGCHLD, (void *)1); /* SIG_IGN: the kernel reaps */
    set_handler(SIGTERM, (void *)on_end);
    set_handler(SIGINT, (void *)on_end);
    for (;;) SYS5(PPOLL, 0, 0, 0, 0, 0);
}

__attribute__((used)) void run(long *stack) {
    long count = stack[0];
    char **words = (char **)(stack + 1);
    if (count == 2 && same(words[1], "pause")) pause_forever();
    if (count == 2 && same(words[1], "serve")) serve();
    if (count == 3 && same(words[1], "connect")) relay(number(words[2], 10));
    if (count == 3 && same(words[1], "kill")) leave(SYS(KILL, number(words[2], 10), 9, 0) ? 1 : 0);
    leave(64);
}
