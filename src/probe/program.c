#include "lb4/probe/program.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "lb4/base/log.h"
#include "lb4/probe/prober.h"

enum {
    BURY_LOOKS = 20, /* 20 ms, once in a life */
    BURY_LOOK_NS = 1000000
};

static const char path_variable[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

_Static_assert(sizeof(((struct attempt *)NULL)->reason_text) == PROGRAM_WORDS_MAX, "one fits");

/* --- the link --------------------------------------------------------------------------------- */

void programs_clear(struct programs *programs)
{
    *programs = (struct programs){0};
    source_init(&programs->source, SOURCE_PROGRAMS, -1);
    list_init(&programs->waiting);
}

int programs_open(struct prober *prober, int link_fd, pid_t pid)
{
    struct programs *programs = &prober->programs;

    programs->pid = pid;
    if (link_fd < 0)
        return 0;
    source_init(&programs->source, SOURCE_PROGRAMS, link_fd);
    return loop_add(&prober->loop, &programs->source, LOOP_LEVEL);
}

void programs_close(struct programs *programs)
{
    loop_close(&programs->source);
}

/* --- slots ------------------------------------------------------------------------------------ */

bool program_has_room(const struct programs *programs)
{
    return programs->n_running < PROGRAMS_MAX;
}

static struct program_slot *find_slot(struct programs *programs, const struct probe *probe)
{
    for (size_t i = 0; i < PROGRAMS_MAX; i++)
        if (programs->slots[i].probe == probe)
            return &programs->slots[i];
    return NULL;
}

static struct program_slot *take_slot(struct programs *programs, struct probe *probe)
{
    struct program_slot *slot = find_slot(programs, NULL);

    slot->id = ++programs->n_asked;
    slot->probe = probe;
    programs->n_running++;
    return slot;
}

static void free_slot(struct programs *programs, struct program_slot *slot)
{
    slot->probe = NULL;
    programs->n_running--;
}

/* --- requests --------------------------------------------------------------------------------- */

static const char *state_word(const struct probe *probe)
{
    if (!probe->health.is_judged)
        return "unknown";
    return probe->health.is_usable ? "up" : "down";
}

/* "10.0.0.5" or "2001:db8::1", and its port, unless nobody wants it; "unix:/path" and "". */
static void add_address(struct program_request *request, const struct addr *addr, const char *name,
                        const char *name_of_port)
{
    char text[ADDR_TEXT_MAX];
    char *port;
    size_t n;

    addr_format(addr, text);
    port = addr_is_unix(addr) ? text + strlen(text) : strrchr(text, ':');
    if (*port)
        *port++ = '\0';
    n = strlen(text);
    if (text[0] == '[')
        text[n - 1] = '\0';
    program_request_env(request, name, text + (text[0] == '['));
    if (name_of_port)
        program_request_env(request, name_of_port, port);
}

/* Of several, the first of the family that is probed; or NULL. */
static const struct addr *find_source(const struct probe *probe)
{
    const struct addr *source = &probe->attempt.check->source;
    const struct origin *origin = probe->attempt.origin;

    if (source->sa.sa_family != AF_UNSPEC)
        return source;
    for (uint32_t i = 0; origin && i < origin->n_sources; i++)
        if (origin->sources[i].sa.sa_family == probe->addr.sa.sa_family)
            return &origin->sources[i];
    return NULL;
}

/* All of it fits: see PROGRAM_TEXT_MAX. */
static void build(struct program_request *request, const struct probe *probe)
{
    const struct service_check *check = probe->attempt.check;

    program_request_begin(request, (const char *)check->send, check->n_send);
    program_request_env(request, "PATH", path_variable);
    program_request_env(request, "LB4_SERVICE", probe->service->name);
    program_request_env(request, "LB4_SERVER", probe->backend->name);
    program_request_env(request, "LB4_STATE", state_word(probe));
    add_address(request, &probe->addr, "LB4_ADDRESS", "LB4_PORT");
    if (find_source(probe))
        add_address(request, find_source(probe), "LB4_SOURCE", NULL);
    request->timeout_ns = check->timeout_ns;
}

static int send_request(const struct programs *programs, const struct program_request *request)
{
    ssize_t n = send(programs->source.fd, request, program_request_size(request),
                     MSG_NOSIGNAL | MSG_DONTWAIT);

    return n < 0 ? -errno : 0;
}

bool program_start(struct prober *prober, struct probe *probe, enum health_outcome *ret_outcome)
{
    struct programs *programs = &prober->programs;
    struct program_request request;
    struct program_slot *slot;

    probe->attempt.reason = NULL;
    probe->attempt.waiting = "";
    probe->attempt.error = 0;
    *ret_outcome = HEALTH_UNKNOWN;
    if (programs->source.fd < 0) {
        probe->attempt.reason = "there is no process that could run programs";
        return false;
    }
    build(&request, probe);
    slot = take_slot(programs, probe);
    request.id = slot->id;
    probe->attempt.error = -send_request(programs, &request);
    if (probe->attempt.error)
        free_slot(programs, slot);
    else
        probe->attempt.state = ATTEMPT_RUNNING;
    return probe->attempt.error == 0;
}

void program_cancel(struct prober *prober, const struct probe *probe)
{
    struct programs *programs = &prober->programs;
    struct program_slot *slot =
        probe->attempt.state == ATTEMPT_RUNNING ? find_slot(programs, probe) : NULL;
    struct program_request request = {0};

    if (!slot)
        return;
    request.id = slot->id;
    free_slot(programs, slot);
    if (programs->source.fd >= 0)
        send_request(programs, &request); /* if it cannot be said, its time is bounded all the same
                                           */
}

/* --- answers ---------------------------------------------------------------------------------- */

static void end_attempt(struct prober *prober, struct probe *probe,
                        const struct program_answer *answer)
{
    probe->attempt.error = answer->fate == PROGRAM_TIMED_OUT ? ETIMEDOUT : 0;
    probe->attempt.reason = program_words(answer, probe->attempt.reason_text);
    prober_end_attempt(prober, probe, program_outcome(answer));
}

enum health_outcome program_give_up(struct prober *prober, struct probe *probe)
{
    program_cancel(prober, probe);
    attempt_close(&probe->attempt);
    probe->attempt.reason = "no answer from the process that runs programs";
    return HEALTH_UNKNOWN;
}

/* What was asked has no answer any more. */
static void end_all(struct prober *prober)
{
    const struct program_answer answer = {.fate = PROGRAM_HOST_BEGINS};

    for (size_t i = 0; i < PROGRAMS_MAX; i++) {
        struct program_slot *slot = &prober->programs.slots[i];
        struct probe *probe = slot->probe;

        if (!probe)
            continue;
        free_slot(&prober->programs, slot);
        end_attempt(prober, probe, &answer);
    }
}

static void take_answer(struct prober *prober, const struct program_answer *answer)
{
    struct programs *programs = &prober->programs;

    if (answer->fate == PROGRAM_HOST_BEGINS) {
        if (answer->value == 1)
            return;
        log_warn("the process that runs the programs of `check exec` had died; there is another");
        end_all(prober);
        return;
    }
    for (size_t i = 0; i < PROGRAMS_MAX; i++) {
        struct program_slot *slot = &programs->slots[i];
        struct probe *probe = slot->probe;

        if (!probe || slot->id != answer->id)
            continue;
        free_slot(programs, slot);
        end_attempt(prober, probe, answer);
        return;
    }
}

/* Lest it stays a zombie; it ends by the time that its end of the link is closed. */
static void bury(struct programs *programs)
{
    const struct timespec look = {.tv_nsec = BURY_LOOK_NS};

    for (int i = 0; programs->pid > 0 && i < BURY_LOOKS; i++) {
        if (waitpid(programs->pid, NULL, WNOHANG) != 0)
            break;
        nanosleep(&look, NULL);
    }
    programs->pid = 0;
}

static void lose_link(struct prober *prober)
{
    log_error("the process that starts the programs of `check exec` has ended: servers with such a "
              "check keep the state they have until lb4 is restarted");
    programs_close(&prober->programs);
    bury(&prober->programs);
    end_all(prober);
}

void program_on_event(struct prober *prober)
{
    struct programs *programs = &prober->programs;

    for (int i = 0; i < PROGRAMS_MAX && programs->source.fd >= 0; i++) {
        struct program_answer answer;
        ssize_t n = recv(programs->source.fd, &answer, sizeof(answer), MSG_DONTWAIT);

        if (n == (ssize_t)sizeof(answer))
            take_answer(prober, &answer);
        else if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        else if (n <= 0)
            lose_link(prober);
    }
}
