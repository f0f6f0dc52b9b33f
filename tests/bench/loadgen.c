// An HTTP/1.1 load generator for one kind of request; one thread, one record for each request.
//
// Open loop (--rate): requests come on a schedule whatever the server does, and latency counts from the
// scheduled time, so that a stall shows in all the requests that it delays. Closed loop (--rate 0): each
// connection asks as soon as it has its answer. `start` and `end` on standard input say when it drives; it
// says `started` on standard error at the first answer, and writes its records to standard output at the end.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum error { NONE, REFUSED, NO_CONNECTION, RESET, EMPTY, CUT, TIMEOUT, STATUS, MALFORMED };
enum state { FREE, IDLE, CONNECTING, SENDING, READING };

struct record {
    double start, latency;  // seconds on CLOCK_MONOTONIC; start is the scheduled one
    int32_t status, error, pid, connection, slow, unused;
};

struct client {
    int fd;
    enum state state;
    double start, deadline, next_piece;
    size_t sent;  // bytes of the request
    bool slow, answered;
    int32_t number;
    int length;  // of what was read
    char data[2048];
};

static struct {
    int port, connections, pieces;
    double rate, timeout, slow_share, piece_seconds;
    bool keep_alive, poisson;
    const char *path, *slow_path;
    long body;
} options = {.connections = 10, .pieces = 1, .timeout = 30, .path = "/", .slow_path = "/"};

static struct client *clients;
static int *idle, idle_first, idle_count;       // a ring: the one that was idle for longest is next
static double *waiting;                         // scheduled, and no connection is free
static size_t waiting_first, waiting_count;
static const size_t WAITING = 1 << 20;
static struct record *records;
static size_t record_count, record_room;
static int32_t opened, reconnects;
static int epoll, busy;
static char *requests[2];
static size_t request_size[2], head_size[2];
static bool driving, first_answer;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void build(int which, const char *path) {
    char head[1024];
    int n = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s", options.body ? "POST" : "GET",
                     path, options.port, options.keep_alive ? "" : "Connection: close\r\n");
    if (options.body) n += snprintf(head + n, sizeof head - n, "Content-Length: %ld\r\n", options.body);
    n += snprintf(head + n, sizeof head - n, "\r\n");
    requests[which] = malloc(n + options.body);
    memcpy(requests[which], head, n);
    memset(requests[which] + n, 'x', options.body);
    head_size[which] = n;
    request_size[which] = n + options.body;
}

static void put_idle(struct client *client) {
    client->state = client->fd < 0 ? FREE : IDLE;
    idle[(idle_first + idle_count++) % options.connections] = client - clients;
}

static void drop(struct client *client) {
    if (client->fd >= 0) close(client->fd);
    client->fd = -1;
}

static void record(struct client *client, enum error error, int status, int pid) {
    if (record_count == record_room) {
        record_room = record_room ? 2 * record_room : 1 << 16;
        records = realloc(records, record_room * sizeof *records);
        if (!records) fail("realloc");
    }
    double latency = now() - client->start;
    records[record_count++] = (struct record){client->start, latency, status, error, pid, client->number,
                                              client->slow, 0};
    if (!first_answer) {
        first_answer = true;
        fprintf(stderr, "started\n");
        fflush(stderr);
    }
    busy--;
}

static void finish(struct client *client, enum error error, int status, int pid, bool keep) {
    record(client, error, status, pid);
    if (!keep || error) drop(client);
    put_idle(client);
}

static void watch(struct client *client, uint32_t events, int how) {
    struct epoll_event event = {.events = events, .data.ptr = client};
    if (epoll_ctl(epoll, how, client->fd, &event)) fail("epoll_ctl");
}

static void broken(struct client *client, int number) {
    enum error error = client->length ? CUT : number == ECONNREFUSED ? REFUSED : number ? RESET : EMPTY;
    if (client->state == CONNECTING && number != ECONNREFUSED) error = NO_CONNECTION;
    finish(client, error, 0, 0, false);
}

// Send what may be sent by now; a body of several pieces takes `piece_seconds`.
static void send_more(struct client *client, double at) {
    const char *request = requests[client->slow];
    size_t size = request_size[client->slow], limit = size;
    if (options.pieces > 1) {
        double share = (at - client->next_piece) / options.piece_seconds;
        double piece = floor(fmax(0, fmin(1, share)) * options.pieces) / options.pieces;
        limit = head_size[client->slow] + (size_t)(piece * options.body);
    }
    while (client->sent < limit) {
        ssize_t n = send(client->fd, request + client->sent, limit - client->sent, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN) {
                watch(client, EPOLLIN | EPOLLOUT | EPOLLRDHUP, EPOLL_CTL_MOD);
                return;
            }
            if (errno == EPIPE || errno == ECONNRESET) client->sent = size;  // an answer may have come before
            else { broken(client, errno); return; }
        } else client->sent += n;
    }
    if (client->sent >= size) {
        client->state = READING;
        watch(client, EPOLLIN | EPOLLRDHUP, EPOLL_CTL_MOD);
    }
}

static void begin_sending(struct client *client) {
    client->state = SENDING;
    client->next_piece = now();
    send_more(client, client->next_piece);
}

static void open_connection(struct client *client) {
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0) fail("socket");
    int one = 1;
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(options.port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    client->number = ++opened;
    watch(client, EPOLLIN | EPOLLOUT | EPOLLRDHUP, EPOLL_CTL_ADD);
    client->state = CONNECTING;
    if (connect(client->fd, (struct sockaddr *)&address, sizeof address) == 0) begin_sending(client);
    else if (errno != EINPROGRESS) broken(client, errno);
}

// A kept connection that the server closed before the request is written is opened anew, as every
// client does. One that ends afterwards is a failure: nobody knows whether the work was done.
static void ask(double start) {
    struct client *client = &clients[idle[idle_first]];
    idle_first = (idle_first + 1) % options.connections;
    idle_count--;
    busy++;
    client->start = start;
    client->deadline = start + options.timeout;
    client->slow = options.slow_share > 0 && drand48() < options.slow_share;
    client->sent = client->length = 0;
    char byte;
    if (client->fd >= 0 && (recv(client->fd, &byte, 1, MSG_PEEK) >= 0 || errno != EAGAIN)) {
        drop(client);
        reconnects++;
    }
    if (client->fd < 0) open_connection(client);
    else begin_sending(client);
}

static const char *field(const char *head, const char *end, const char *name) {
    size_t length = strlen(name);
    for (const char *line = head; line && line < end; line = strstr(line, "\r\n")) {
        line += line == head ? 0 : 2;
        if (strncasecmp(line, name, length) == 0) return line + length + strspn(line + length, " ");
    }
    return NULL;
}

// Look at what was read; an answer is a head with Content-Length and so many bytes.
static void parse(struct client *client) {
    client->data[client->length] = 0;
    char *end = strstr(client->data, "\r\n\r\n");
    if (!end) {
        if (client->length >= (int)sizeof client->data - 1) finish(client, MALFORMED, 0, 0, false);
        return;
    }
    int status = 0;
    const char *length = field(client->data, end + 2, "content-length:");
    if (sscanf(client->data, "HTTP/1.%*c %d", &status) != 1 || !length) {
        finish(client, status >= 400 ? STATUS : MALFORMED, status, 0, false);
        return;
    }
    char *body = end + 4;
    if (client->data + client->length - body < atol(length)) return;
    const char *connection = field(client->data, end + 2, "connection:");
    bool close = connection && strncasecmp(connection, "close", 5) == 0;
    bool keep = options.keep_alive && client->state == READING && !close;
    finish(client, status >= 400 ? STATUS : NONE, status, atoi(body), keep);
}

static void read_more(struct client *client) {
    int room = sizeof client->data - 1 - client->length;
    ssize_t n = recv(client->fd, client->data + client->length, room, 0);
    if (n > 0) {
        client->length += n;
        parse(client);
    } else if (n == 0) broken(client, 0);
    else if (errno != EAGAIN) broken(client, errno);
}

static void ready(struct client *client, uint32_t events) {
    int number = 0;
    socklen_t size = sizeof number;
    switch (client->state) {
    case CONNECTING:
        getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &number, &size);
        if (number) broken(client, number);
        else if (events & EPOLLOUT) begin_sending(client);
        break;
    case SENDING:
        if (events & EPOLLIN) read_more(client);
        else if (events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)) broken(client, ECONNRESET);
        else if (events & EPOLLOUT) {
            watch(client, EPOLLIN | EPOLLRDHUP, EPOLL_CTL_MOD);
            send_more(client, now());
        }
        break;
    case READING:
        read_more(client);
        break;
    case IDLE:  // the server closed it; it keeps its place in the ring, and is opened again by its next request
        drop(client);
        client->state = FREE;
        reconnects++;
        break;
    case FREE:
        break;
    }
}

static void look_at_clocks(double at) {
    for (int i = 0; i < options.connections && busy; i++) {
        struct client *client = &clients[i];
        if (client->state < CONNECTING) continue;
        if (at > client->deadline) finish(client, TIMEOUT, 0, 0, false);
        else if (client->state == SENDING && options.pieces > 1) send_more(client, at);
    }
}

static void commands(double at, double *next) {
    char buffer[64];
    ssize_t n = read(0, buffer, sizeof buffer);
    if (n > 0 && buffer[0] == 's') {
        driving = true;
        *next = at;
    } else if (n == 0 || (n > 0 && buffer[0] == 'e')) {
        driving = false;
        waiting_count = 0;
        epoll_ctl(epoll, EPOLL_CTL_DEL, 0, NULL);
    }
}

static void drive(void) {
    double next = 0, clocks = 0;
    bool ended = false;
    struct epoll_event events[256];
    while (!ended || busy) {
        double at = now();
        if (driving && options.rate > 0) {
            for (; next <= at; next += options.poisson ? -log(1 - drand48()) / options.rate : 1 / options.rate) {
                if (waiting_count < WAITING) waiting[(waiting_first + waiting_count++) % WAITING] = next;
            }
            for (; waiting_count && idle_count; waiting_count--) {
                ask(waiting[waiting_first]);
                waiting_first = (waiting_first + 1) % WAITING;
            }
        } else if (driving) {
            for (int left = idle_count; left > 0; left--) ask(at);
        }
        if (at >= clocks) {
            look_at_clocks(at);
            clocks = at + (options.pieces > 1 ? 0.01 : 0.1);
        }
        double until = driving && options.rate > 0 && !waiting_count ? fmin(next, clocks) : clocks;
        double pause = fmax(0, until - now());
        struct timespec wait = {.tv_sec = (time_t)pause, .tv_nsec = (long)(fmod(pause, 1) * 1e9)};
        int n = syscall(SYS_epoll_pwait2, epoll, events, 256, &wait, NULL, 0);
        if (n < 0 && errno != EINTR) fail("epoll_pwait2");
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr) ready(events[i].data.ptr, events[i].events);
            else {
                bool was = driving;
                commands(now(), &next);
                ended |= was && !driving;
                ended |= !was && !driving;
            }
        }
    }
}

static void parse_options(int argc, char **argv) {
    enum { PORT = 1, RATE, CONNECTIONS, PATH, SLOW_PATH, SLOW_SHARE, BODY, PIECES, PIECE_SECONDS, TIME, KEEP, POISSON, SEED };
    static const struct option known[] = {
        {"port", 1, 0, PORT}, {"rate", 1, 0, RATE}, {"connections", 1, 0, CONNECTIONS}, {"path", 1, 0, PATH},
        {"slow-path", 1, 0, SLOW_PATH}, {"slow-share", 1, 0, SLOW_SHARE}, {"body", 1, 0, BODY},
        {"pieces", 1, 0, PIECES}, {"piece-seconds", 1, 0, PIECE_SECONDS}, {"timeout", 1, 0, TIME},
        {"keep-alive", 0, 0, KEEP}, {"poisson", 0, 0, POISSON}, {"seed", 1, 0, SEED}, {0}};
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (c) {
        case PORT: options.port = atoi(optarg); break;
        case RATE: options.rate = atof(optarg); break;
        case CONNECTIONS: options.connections = atoi(optarg); break;
        case PATH: options.path = optarg; break;
        case SLOW_PATH: options.slow_path = optarg; break;
        case SLOW_SHARE: options.slow_share = atof(optarg); break;
        case BODY: options.body = atol(optarg); break;
        case PIECES: options.pieces = atoi(optarg); break;
        case PIECE_SECONDS: options.piece_seconds = atof(optarg); break;
        case TIME: options.timeout = atof(optarg); break;
        case KEEP: options.keep_alive = true; break;
        case POISSON: options.poisson = true; break;
        case SEED: srand48(atol(optarg)); break;
        default: exit(2);
        }
    }
}

int main(int argc, char **argv) {
    parse_options(argc, argv);
    prctl(PR_SET_TIMERSLACK, 1000);  // ns; the default of 50 µs would make every request late
    epoll = epoll_create1(EPOLL_CLOEXEC);
    clients = calloc(options.connections, sizeof *clients);
    idle = calloc(options.connections, sizeof *idle);
    waiting = calloc(WAITING, sizeof *waiting);
    if (epoll < 0 || !clients || !idle || !waiting) fail("start");
    for (int i = 0; i < options.connections; i++) {
        clients[i].fd = -1;
        put_idle(&clients[i]);
    }
    build(0, options.path);
    build(1, options.slow_path);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &event)) fail("epoll_ctl: standard input");
    drive();
    int32_t totals[2] = {opened, reconnects};
    fwrite(totals, sizeof totals, 1, stdout);
    fwrite(records, sizeof *records, record_count, stdout);
    return 0;
}
