/* datagrams: the UDP load of the benchmark. One run brings its own server, a process, so that its
 * counts need no protocol. Datagrams are sent one by one, flow after flow, as from a wire: batches
 * would be a gift to whoever joins what comes in a row. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "histogram.h"
#include "net.h"

enum {
    CAP_FLOWS = 1000,
    MIN_BYTES = 16, /* struct tag */
    MAX_BYTES = 9000,
    BATCH = 64,
    RECEIVE_BUFFER_BYTES = 32 << 20, /* what is lost is to be lost by the proxy */
    PATIENCE_MS = 500,               /* for one answer; then the next question, and an error */
    SLICE_NS = 100000,               /* between two bursts of a sender with a rate */
};

enum scenario { PINGPONG, ONEWAY, FLOOD, N_SCENARIOS };

static const char *const scenario_names[N_SCENARIOS] = {
    [PINGPONG] = "pingpong", [ONEWAY] = "oneway", [FLOOD] = "flood"};

static const char usage_text[] =
    "usage: datagrams SCENARIO TARGET SERVER [-n FLOWS] [-t SECONDS] [-b BYTES] [-r RATE]\n"
    "  SCENARIO: pingpong = every flow asks, and again once it is answered; unit = answer\n"
    "            oneway = RATE datagrams per second in all; unit = datagram at the server\n"
    "            flood = RATE questions per second, answered or not; unit = answer in time\n"
    "  TARGET ADDR:PORT: where clients send to. SERVER ADDR:PORT: where this tool's server is.\n"
    "  -n, --flows N (64)   -t, --seconds S (3)   -b, --bytes N (64)   -r, --rate N (150000)\n";

struct options {
    enum scenario scenario;
    struct net_addr target, server;
    unsigned n_flows, n_bytes;
    double rate, seconds;
};

/* Head of every datagram. */
struct tag {
    uint64_t flow, sequence;
};

struct flow {
    int fd;
    uint64_t sequence, sent_ns;
};

/* In memory that the processes share; each counter has one writer. */
struct counts {
    uint64_t n_at_server, n_at_client;
};

struct run {
    const struct options *options;
    struct flow flows[CAP_FLOWS];
    struct counts *counts;
    uint64_t n_units, n_sent, n_errors, n_unsent;
    double seconds;
    struct histogram latency;
};

__attribute__((noreturn)) static void die(const char *what)
{
    perror(what);
    exit(2);
}

static void count(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static uint64_t read_count(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* --- processes and sockets */

/* 0 in the child, which ends with its parent. */
static pid_t start_child(void)
{
    pid_t pid = fork();

    if (pid < 0)
        die("datagrams: fork");
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

static void end_child(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static int open_socket(int family)
{
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int n_bytes = RECEIVE_BUFFER_BYTES;

    if (fd < 0)
        die("datagrams: socket");
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &n_bytes, sizeof(n_bytes)) < 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &n_bytes, sizeof(n_bytes));
    return fd;
}

static void open_flows(struct run *run)
{
    const struct net_addr *target = &run->options->target;

    for (unsigned i = 0; i < run->options->n_flows; i++) {
        int fd = open_socket(target->storage.ss_family);
        if (connect(fd, (const struct sockaddr *)&target->storage, target->length) < 0)
            die("datagrams: connect");
        run->flows[i].fd = fd;
    }
}

/* --- the server */

__attribute__((noreturn)) static void serve(int fd, struct counts *counts, bool answers)
{
    static uint8_t buffers[BATCH][MAX_BYTES];
    static struct sockaddr_storage peers[BATCH];
    struct iovec pieces[BATCH];
    struct mmsghdr messages[BATCH];

    for (;;) {
        for (unsigned i = 0; i < BATCH; i++) {
            pieces[i] = (struct iovec){buffers[i], MAX_BYTES};
            messages[i].msg_hdr = (struct msghdr){.msg_name = &peers[i],
                                                  .msg_namelen = sizeof(peers[i]),
                                                  .msg_iov = &pieces[i],
                                                  .msg_iovlen = 1};
        }
        int n = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
        if (n <= 0)
            continue;
        count(&counts->n_at_server, (uint64_t)n);
        for (int i = 0; answers && i < n; i++) {
            pieces[i].iov_len = messages[i].msg_len;
            (void)sendmsg(fd, &messages[i].msg_hdr, MSG_DONTWAIT);
        }
    }
}

/* Bound once this returns. */
static pid_t start_server(const struct run *run)
{
    const struct net_addr *addr = &run->options->server;
    int fd = open_socket(addr->storage.ss_family);

    if (bind(fd, (const struct sockaddr *)&addr->storage, addr->length) < 0)
        die("datagrams: bind");
    pid_t pid = start_child();
    if (pid == 0)
        serve(fd, run->counts, run->options->scenario != ONEWAY);
    close(fd);
    return pid;
}

/* --- clients */

static void send_one(struct run *run, unsigned i)
{
    static uint8_t buffer[MAX_BYTES];
    struct flow *flow = &run->flows[i];
    struct tag tag = {i, ++flow->sequence};

    memcpy(buffer, &tag, sizeof(tag));
    if (send(flow->fd, buffer, run->options->n_bytes, MSG_DONTWAIT) >= 0)
        run->n_sent++;
    else if (errno == EAGAIN || errno == ENOBUFS)
        run->n_unsent++;
    else
        run->n_errors++;
}

static int watch_flows(const struct run *run)
{
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

    for (unsigned i = 0; i < run->options->n_flows; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, run->flows[i].fd, &event) < 0)
            die("datagrams: epoll_ctl");
    }
    return epoll_fd;
}

/* True once an answer, or an error, has been read. */
static bool receive_one(struct run *run, unsigned i, struct tag *ret_tag)
{
    static uint8_t buffer[MAX_BYTES];
    ssize_t got = recv(run->flows[i].fd, buffer, sizeof(buffer), MSG_DONTWAIT);

    if (got < 0 && errno == EAGAIN)
        return false;
    *ret_tag = (struct tag){0};
    if (got == (ssize_t)run->options->n_bytes)
        memcpy(ret_tag, buffer, sizeof(*ret_tag));
    if (ret_tag->flow != i || ret_tag->sequence == 0)
        run->n_errors++;
    return true;
}

static void ask(struct run *run, unsigned i)
{
    run->flows[i].sent_ns = net_now_ns();
    send_one(run, i);
}

static void on_answer(struct run *run, unsigned i)
{
    struct flow *flow = &run->flows[i];
    struct tag tag;

    while (receive_one(run, i, &tag)) {
        if (tag.sequence != flow->sequence)
            continue;
        histogram_add(&run->latency, net_now_ns() - flow->sent_ns);
        run->n_units++;
        ask(run, i);
    }
}

static void ask_again(struct run *run)
{
    uint64_t now_ns = net_now_ns();

    for (unsigned i = 0; i < run->options->n_flows; i++) {
        if (now_ns - run->flows[i].sent_ns < PATIENCE_MS * 1000000ull)
            continue;
        run->n_errors++;
        ask(run, i);
    }
}

static void run_pingpong(struct run *run)
{
    struct epoll_event events[BATCH];
    int epoll_fd = watch_flows(run);
    uint64_t begin_ns = net_now_ns(), now_ns = begin_ns, look_ns = begin_ns;
    uint64_t end_ns = begin_ns + (uint64_t)(run->options->seconds * 1e9);

    for (unsigned i = 0; i < run->options->n_flows; i++)
        ask(run, i);
    while ((now_ns = net_now_ns()) < end_ns) {
        int n = epoll_wait(epoll_fd, events, BATCH, 20);
        for (int i = 0; i < n; i++)
            on_answer(run, events[i].data.u32);
        if (now_ns - look_ns > 50000000u) {
            ask_again(run);
            look_ns = now_ns;
        }
    }
    run->seconds = (double)(now_ns - begin_ns) / 1e9;
    close(epoll_fd);
}

/* At the rate; what could not be sent in time, as the processor was busy, is sent later, but not
 * more than 10 ms' worth. */
static void send_at_rate(struct run *run)
{
    const struct timespec slice = {.tv_nsec = SLICE_NS};
    double due = 0, behind_max = run->options->rate / 100;
    uint64_t begin_ns = net_now_ns(), then_ns = begin_ns, now_ns = begin_ns;
    uint64_t end_ns = begin_ns + (uint64_t)(run->options->seconds * 1e9);

    for (unsigned next = 0; now_ns < end_ns; now_ns = net_now_ns()) {
        due += (double)(now_ns - then_ns) * run->options->rate / 1e9;
        due = due < behind_max ? due : behind_max;
        then_ns = now_ns;
        if (due < 1)
            clock_nanosleep(CLOCK_MONOTONIC, 0, &slice, NULL);
        for (int burst = 0; due >= 1 && burst < BATCH; burst++, due--) {
            send_one(run, next);
            next = (next + 1) % run->options->n_flows;
        }
    }
    run->seconds = (double)(now_ns - begin_ns) / 1e9;
}

static void wait_until_still(const uint64_t *counter)
{
    uint64_t before;

    do {
        before = read_count(counter);
        usleep(100000);
    } while (read_count(counter) != before);
}

static void run_oneway(struct run *run)
{
    send_at_rate(run);
    wait_until_still(&run->counts->n_at_server);
    run->n_units = read_count(&run->counts->n_at_server);
}

__attribute__((noreturn)) static void count_answers(struct run *run)
{
    struct epoll_event events[BATCH];
    int epoll_fd = watch_flows(run);
    struct tag tag;

    for (;;) {
        int n = epoll_wait(epoll_fd, events, BATCH, -1);
        for (int i = 0; i < n; i++)
            for (int k = 0; k < BATCH && receive_one(run, events[i].data.u32, &tag); k++)
                count(&run->counts->n_at_client, tag.sequence != 0);
    }
}

/* What comes after the last question is late. The sender goes first, where it may: a flood does not
 * wait until its victim has had its share of the CPU. */
static void run_flood(struct run *run)
{
    pid_t reader = start_child();

    if (reader == 0)
        count_answers(run);
    (void)setpriority(PRIO_PROCESS, 0, -20);
    send_at_rate(run);
    run->n_units = read_count(&run->counts->n_at_client);
    end_child(reader);
}

static void print_figures(const struct run *run)
{
    printf("{\"scenario\": \"%s\", \"flows\": %u, \"units\": %llu, \"seconds\": %.6f, "
           "\"units_per_second\": %.1f, \"sent\": %llu, \"unsent\": %llu, \"at_server\": %llu, ",
           scenario_names[run->options->scenario], run->options->n_flows,
           (unsigned long long)run->n_units, run->seconds, (double)run->n_units / run->seconds,
           (unsigned long long)run->n_sent, (unsigned long long)run->n_unsent,
           (unsigned long long)read_count(&run->counts->n_at_server));
    printf("\"p50_us\": %.1f, \"p99_us\": %.1f, \"errors\": %llu}\n",
           (double)histogram_quantile(&run->latency, 0.5) / 1e3,
           (double)histogram_quantile(&run->latency, 0.99) / 1e3,
           (unsigned long long)run->n_errors);
}

/* --- command line */

__attribute__((noreturn)) static void usage(void)
{
    fputs(usage_text, stderr);
    exit(2);
}

static double number(const char *text, double min, double max)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end || !(value >= min && value <= max))
        usage();
    return value;
}

static void take_option(struct options *options, int option)
{
    switch (option) {
    case 'n':
        options->n_flows = (unsigned)number(optarg, 1, CAP_FLOWS);
        break;
    case 't':
        options->seconds = number(optarg, 0.01, 86400);
        break;
    case 'b':
        options->n_bytes = (unsigned)number(optarg, MIN_BYTES, MAX_BYTES);
        break;
    case 'r':
        options->rate = number(optarg, 1, 1e7);
        break;
    default:
        usage();
    }
}

static void read_options(struct options *options, int argc, char **argv)
{
    static const struct option long_options[] = {{"flows", required_argument, NULL, 'n'},
                                                 {"seconds", required_argument, NULL, 't'},
                                                 {"bytes", required_argument, NULL, 'b'},
                                                 {"rate", required_argument, NULL, 'r'},
                                                 {NULL, 0, NULL, 0}};
    int option;

    *options = (struct options){
        .scenario = N_SCENARIOS, .n_flows = 64, .n_bytes = 64, .rate = 150000, .seconds = 3};
    while ((option = getopt_long(argc, argv, "n:t:b:r:", long_options, NULL)) != -1)
        take_option(options, option);
    if (argc - optind != 3 || !net_parse(argv[optind + 1], &options->target) ||
        !net_parse(argv[optind + 2], &options->server))
        usage();
    for (unsigned i = 0; i < N_SCENARIOS; i++) {
        if (strcmp(argv[optind], scenario_names[i]) == 0)
            options->scenario = i;
    }
    if (options->scenario == N_SCENARIOS)
        usage();
}

int main(int argc, char **argv)
{
    static struct options options;
    static struct run run = {.options = &options};

    read_options(&options, argc, argv);
    net_prepare_process();
    run.counts =
        mmap(NULL, sizeof(*run.counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (run.counts == MAP_FAILED)
        die("datagrams: mmap");
    open_flows(&run);
    pid_t server = start_server(&run);
    switch (options.scenario) {
    case PINGPONG:
        run_pingpong(&run);
        break;
    case ONEWAY:
        run_oneway(&run);
        break;
    case FLOOD:
        run_flood(&run);
        break;
    case N_SCENARIOS:
        break;
    }
    end_child(server);
    print_figures(&run);
    return run.n_errors > 0 ? 1 : 0;
}
