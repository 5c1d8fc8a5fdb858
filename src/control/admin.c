/* A client:
 *
 *            a line                 done                      all taken
 *    reading -------> (command) ----------> writing -----------------------> reading
 *       |                 | waits              ^                 |
 *       |                 v       done, late   |                 | is_last
 *       |              waiting ----------------+                 v
 *       +---------- end, nothing left; nothing for 10 s -----> closed
 *
 * A line is looked at when the reply before it has been taken: a client that sends much and reads
 * nothing fills its own socket, not our memory. Sockets are edge-triggered: pump() goes on until
 * the kernel says EAGAIN. */
#include "lb4/control/admin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"

enum {
    COMMANDS_MAX = 16, /* of one client in one turn, chosen */
    TICK_MS = 20       /* between looks at what commands wait for; chosen: no operator sees it */
};

static const uint64_t PATIENCE_NS = ADMIN_PATIENCE_MS * 1000000ull;
static const uint64_t REFUSAL_GAP_NS = 10 * 1000000000ull; /* between lines of the log; chosen */

enum admin_state { ADMIN_READING, ADMIN_WRITING, ADMIN_WAITING };

struct admin_client {
    struct list link; /* on admin->clients or admin->dead */
    struct source source;
    enum admin_state state;
    bool has_ended;  /* sends no more */
    bool has_gone;   /* closed both ways: nobody reads */
    bool is_last;    /* closed once this reply has been taken */
    uint64_t due_ns; /* reading, writing: patience ends */
    size_t n_sent;   /* of the reply */
    struct reply reply;
    struct command_call call;
    struct line_reader lines;
};

/* --- one client ------------------------------------------------------------------------------- */

static void close_client(struct admin *admin, struct admin_client *client)
{
    loop_close(&client->source);
    list_remove(&client->link);
    list_append(&admin->dead, &client->link);
    admin->n_clients--;
}

static void enter(struct admin *admin, struct admin_client *client, enum admin_state state)
{
    client->state = state;
    client->due_ns = admin->loop->now_ns + PATIENCE_NS;
}

static void begin_reply(struct admin *admin, struct admin_client *client)
{
    client->n_sent = 0;
    enter(admin, client, ADMIN_WRITING);
}

static void reply_error(struct admin *admin, struct admin_client *client, const char *text)
{
    reply_clear(&client->reply);
    reply_format(&client->reply, "error %s\n", text);
    client->is_last = true;
    begin_reply(admin, client);
}

/* True: something was done, go on. */
static bool write_reply(struct admin *admin, struct admin_client *client)
{
    if (!client->has_gone) {
        switch (reply_send(&client->reply, &client->n_sent, client->source.fd)) {
        case REPLY_BLOCKED:
            return false;
        case REPLY_UNWANTED:
            client->has_gone = true;
            break;
        case REPLY_SENT:
            break;
        }
    }
    reply_clear(&client->reply);
    enter(admin, client, ADMIN_READING);
    if (!client->is_last)
        return true;
    close_client(admin, client);
    return false;
}

static void follow(struct admin *admin, struct admin_client *client, enum command_result result)
{
    switch (result) {
    case COMMAND_DONE:
    case COMMAND_FAILED:
        begin_reply(admin, client);
        break;
    case COMMAND_WAITS:
        enter(admin, client, ADMIN_WAITING);
        break;
    }
}

static bool is_blank(const char *line)
{
    return line[strspn(line, " \t")] == '\0';
}

/* True: something was done, go on. */
static bool read_bytes(struct admin_client *client)
{
    size_t room;
    char *to = line_room(&client->lines, &room);
    ssize_t n = recv(client->source.fd, to, room, MSG_DONTWAIT);

    if (n > 0)
        line_came(&client->lines, (size_t)n);
    else if (n == 0)
        client->has_ended = true;
    else if (errno == EAGAIN || errno == EWOULDBLOCK)
        return false;
    else
        client->has_ended = client->has_gone = true;
    return true;
}

static bool read_line(struct admin *admin, struct admin_client *client)
{
    char line[LINE_MAX_BYTES + 1];
    enum line_result result = line_take(&client->lines, line);

    if (result == LINE_NONE && client->has_ended)
        result = line_take_rest(&client->lines, line);
    switch (result) {
    case LINE_NONE:
        if (!client->has_ended)
            return read_bytes(client);
        close_client(admin, client);
        return false;
    case LINE_READY:
        client->call.now_ns = admin->loop->now_ns;
        if (!is_blank(line))
            follow(admin, client, command_run(&client->call, line));
        return true;
    case LINE_TOO_LONG:
        reply_error(admin, client, "a line is longer than 4096 bytes");
        return true;
    case LINE_BAD_BYTE:
        reply_error(admin, client, "a byte that is not printable ASCII");
        return true;
    }
    return false;
}

/* One that waits for nobody's sake ends. */
static bool wait_on(struct admin *admin, struct admin_client *client)
{
    client->call.now_ns = admin->loop->now_ns;
    if (client->has_gone)
        begin_reply(admin, client);
    else
        follow(admin, client, command_check(&client->call));
    return client->state != ADMIN_WAITING;
}

static bool step(struct admin *admin, struct admin_client *client)
{
    switch (client->state) {
    case ADMIN_READING:
        return read_line(admin, client);
    case ADMIN_WRITING:
        return write_reply(admin, client);
    case ADMIN_WAITING:
        return wait_on(admin, client);
    }
    return false;
}

/* Three steps make a command: bytes, line, reply. */
static void pump(struct admin *admin, struct admin_client *client)
{
    for (int i = 0; i < 3 * COMMANDS_MAX; i++) {
        if (!step(admin, client))
            return;
    }
    loop_again(admin->loop, &client->source);
}

void admin_on_client(struct admin *admin, struct source *source, uint32_t bits)
{
    struct admin_client *client = container_of(source, struct admin_client, source);

    if (bits & (EPOLLHUP | EPOLLERR))
        client->has_gone = true;
    pump(admin, client);
}

/* --- who comes -------------------------------------------------------------------------------- */

/* For one that is not served: a socket that is new has room for a line. */
static void turn_away(int fd, const char *text)
{
    send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

static void log_refusal(struct admin *admin, const struct ucred *who)
{
    uint64_t now_ns = admin->loop->now_ns;

    if (admin->told_ns && now_ns - admin->told_ns < REFUSAL_GAP_NS)
        return;
    admin->told_ns = now_ns;
    log_warn("admin: uid %u (pid %d) was refused: only root and uid %u may ask", who->uid, who->pid,
             admin->uid);
}

static void refuse(struct admin *admin, int fd, const struct ucred *who)
{
    char text[COMMAND_ERROR_MAX];

    log_refusal(admin, who);
    snprintf(text, sizeof(text),
             "error permission denied: uid %u is neither root nor uid %u of lb4\n", who->uid,
             admin->uid);
    turn_away(fd, text);
}

static struct admin_client *client_new(struct admin *admin, int fd, uid_t uid)
{
    struct admin_client *client = calloc(1, sizeof(*client));

    if (!client)
        return NULL;
    source_init(&client->source, SOURCE_ADMIN_CLIENT, fd);
    list_init(&client->link);
    line_reader_init(&client->lines);
    reply_init(&client->reply, ADMIN_REPLY_MAX);
    client->call = (struct command_call){.from = admin->from, .reply = &client->reply, .uid = uid};
    enter(admin, client, ADMIN_READING);
    return client;
}

static void take_in(struct admin *admin, int fd, uid_t uid)
{
    struct admin_client *client = client_new(admin, fd, uid);

    if (!client) {
        close(fd);
        return;
    }
    list_append(&admin->clients, &client->link);
    admin->n_clients++;
    if (loop_add(admin->loop, &client->source, LOOP_EDGE) < 0)
        close_client(admin, client);
}

static void receive(struct admin *admin, int fd)
{
    struct ucred who = {.uid = (uid_t)-1};
    socklen_t n = sizeof(who);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) < 0 ||
        (who.uid != 0 && who.uid != admin->uid))
        refuse(admin, fd, &who);
    else if (admin->n_clients == ADMIN_CLIENTS)
        turn_away(fd, "error too many clients, 8 are served at a time: try again\n");
    else
        take_in(admin, fd, who.uid);
}

void admin_on_listener(struct admin *admin)
{
    door_on_event(&admin->door);
}

/* --- time ------------------------------------------------------------------------------------- */

static uint64_t client_due_ns(const struct admin *admin, const struct admin_client *client)
{
    return client->state == ADMIN_WAITING ? admin->loop->now_ns + TICK_MS * CLOCK_NS_PER_MS
                                          : client->due_ns;
}

uint64_t admin_due_ns(const struct admin *admin)
{
    uint64_t due_ns = door_due_ns(&admin->door);

    for (struct list *at = admin->clients.next; at != &admin->clients; at = at->next) {
        uint64_t its_ns = client_due_ns(admin, container_of(at, struct admin_client, link));

        due_ns = its_ns < due_ns ? its_ns : due_ns;
    }
    return due_ns;
}

/* What it had to say for itself may wait in the kernel, hence told_ns (loop/loop.h). */
static void expire(struct admin *admin, struct admin_client *client)
{
    if (client->due_ns > admin->loop->told_ns)
        return;
    if (client->state == ADMIN_WRITING) {
        log_debug("admin: a client of uid %u has not taken its reply for %d s", client->call.uid,
                  ADMIN_PATIENCE_MS / 1000);
        close_client(admin, client);
        return;
    }
    reply_error(admin, client, "no command for 10 s");
    pump(admin, client);
}

static void reap(struct admin *admin)
{
    struct list *first;

    while ((first = list_take_first(&admin->dead))) {
        struct admin_client *client = container_of(first, struct admin_client, link);

        reply_fini(&client->reply);
        free(client);
    }
}

void admin_end_turn(struct admin *admin)
{
    struct list *next;
    int fd;

    for (struct list *at = admin->clients.next; at != &admin->clients; at = next) {
        struct admin_client *client = container_of(at, struct admin_client, link);

        next = at->next;
        if (client->state == ADMIN_WAITING)
            pump(admin, client);
        else
            expire(admin, client);
    }
    while ((fd = door_accept(&admin->door, admin->n_clients < ADMIN_CLIENTS)) >= 0)
        receive(admin, fd);
    door_end_turn(&admin->door);
    reap(admin);
}

/* --- the whole -------------------------------------------------------------------------------- */

void admin_clear(struct admin *admin)
{
    *admin = (struct admin){.socket = {.fd = -1}};
    list_init(&admin->clients);
    list_init(&admin->dead);
    door_init(&admin->door, SOURCE_ADMIN_LISTENER, -1);
}

int admin_open(struct admin *admin, const char *directive, const struct privileges_ids *ids,
               char reterr[static ADMIN_SOCKET_ERROR_MAX])
{
    return admin_socket_open(&admin->socket, directive + strlen("unix:"), ids->uid, ids->gid,
                             reterr);
}

int admin_start(struct admin *admin, struct loop *loop, const struct snapshot_from *from)
{
    admin->loop = loop;
    admin->from = from;
    admin->uid = geteuid();
    door_init(&admin->door, SOURCE_ADMIN_LISTENER, admin->socket.fd);
    return door_open(&admin->door, loop);
}

void admin_close(struct admin *admin)
{
    while (!list_is_empty(&admin->clients))
        close_client(admin, container_of(admin->clients.next, struct admin_client, link));
    reap(admin);
    door_take_fd(&admin->door);
    admin_socket_close(&admin->socket);
}
