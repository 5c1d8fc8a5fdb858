#include "lb4/control/snapshot.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/conf/diff.h"
#include "lb4/conf/print.h"
#include "lb4/control/reload.h"
#include "lb4/control/report.h"
#include "lb4/shared/backend_write.h"
#include "lb4/shared/place.h"

/* --- services --------------------------------------------------------------------------------- */

static void list_listeners(const struct conf_service *service,
                           char text[static SNAPSHOT_LISTENERS_MAX])
{
    size_t at = 0;

    text[0] = '\0';
    for (size_t i = 0; service && i < service->n_listens; i++) {
        const struct conf_listen *listen = &service->listens[i];
        char addr[CONF_LISTEN_TEXT_MAX];

        if (SNAPSHOT_LISTENERS_MAX - at < CONF_LISTEN_TEXT_MAX + 32) {
            snprintf(text + at, SNAPSHOT_LISTENERS_MAX - at, ",...");
            return;
        }
        at += (size_t)snprintf(text + at, SNAPSHOT_LISTENERS_MAX - at, "%s%s/%s%s", i ? "," : "",
                               conf_transport_word(listen->transport),
                               conf_format_listen(listen, addr),
                               listen->accept_proxy ? "+proxy" : "");
    }
}

size_t snapshot_n_usable(const struct service *service)
{
    size_t n = 0;

    for (size_t i = 0; i < service->n_places; i++)
        n += service->backends[i].state != BACKEND_NONE &&
             !(backend_standing(&service->backends[i]) & PICK_UNUSABLE);
    return n;
}

size_t snapshot_n_servers(const struct service *service)
{
    size_t n = 0;

    for (size_t i = 0; i < service->n_places; i++)
        n += service->backends[i].state == BACKEND_SERVING;
    return n;
}

void snapshot_take_service(const struct snapshot_from *from, const struct service *service,
                           struct snapshot_service *ret)
{
    ret->name = service->name;
    ret->policy = conf_balance_word(service_plan(service)->balance);
    ret->n_servers = snapshot_n_servers(service);
    ret->n_usable = snapshot_n_usable(service);
    list_listeners(service->is_gone ? NULL : conf_find_service(from->conf, service->name),
                   ret->listeners);
    stats_sum_service(from->group->stats, from->group->n_workers, service->index, &ret->stats);
    ret->closed = 0;
    for (size_t i = 0; i < CLOSE_REASONS; i++)
        ret->closed += ret->stats.closed[i];
}

/* --- servers ---------------------------------------------------------------------------------- */

static const char *health_word(uint32_t standing)
{
    if (standing & PICK_NEW)
        return "new";
    if (standing & PICK_DOWN)
        return "down";
    return standing & PICK_SUSPECT ? "suspect" : "up";
}

const char *snapshot_state(uint32_t standing)
{
    if (standing & PICK_GONE)
        return "removed";
    if (standing & PICK_MAINT)
        return "maint";
    if (standing & PICK_DRAIN)
        return "drain";
    return health_word(standing);
}

/* The operator's word counts while his wish holds, and for a server in good health if it is the
 * later of the two. Where a server drains and is down at that, both count. */
static void take_notes(const struct backend *backend, uint32_t standing,
                       struct snapshot_server *ret)
{
    char wish[NOTE_TEXT_MAX];
    char health[NOTE_TEXT_MAX];
    uint64_t wish_ns = note_read(&backend->wish, wish);
    uint64_t health_ns = note_read(&backend->health, health);
    uint64_t now_ns = clock_now_ns();
    uint64_t since_ns = wish_ns;

    if (standing & PICK_DRAIN && standing & PICK_DOWN) {
        snprintf(ret->why, sizeof(ret->why), "%s; down: %s", wish, health);
    } else if (standing & (PICK_DRAIN | PICK_MAINT | PICK_NEW) ||
               (wish_ns > health_ns && !(standing & (PICK_DOWN | PICK_SUSPECT)))) {
        snprintf(ret->why, sizeof(ret->why), "%s", wish);
    } else {
        snprintf(ret->why, sizeof(ret->why), "%s", health);
        since_ns = health_ns;
    }
    ret->since_s = since_ns && since_ns < now_ns ? (now_ns - since_ns) / CLOCK_NS_PER_S : 0;
}

/* Connections that are to leave. */
static void add_farewell(const struct backend *backend, struct snapshot_server *ret)
{
    uint64_t word = backend_farewell(backend);
    uint64_t now_ns = clock_now_ns();
    size_t n = strlen(ret->why);

    if (word && ret->active > 0 && farewell_at_ns(word) > now_ns)
        snprintf(ret->why + n, sizeof(ret->why) - n,
                 "; what it holds is reset in %llu s, unless %s (%s drain)",
                 (unsigned long long)((farewell_at_ns(word) - now_ns) / CLOCK_NS_PER_S),
                 farewell_why(word) == FAREWELL_DOWN ? "it comes back" : "the better one fails",
                 farewell_why(word) == FAREWELL_DOWN ? "on-down" : "on-up");
}

/* Of new connections, after it came back. */
static void add_ramp(uint32_t standing, struct snapshot_server *ret)
{
    uint32_t part = pick_part(standing);
    size_t n = strlen(ret->why);

    if (part == PICK_PART_LEVEL)
        snprintf(ret->why + n, sizeof(ret->why) - n, "; slow-start: it catches up");
    else if (part > 0)
        snprintf(ret->why + n, sizeof(ret->why) - n, "; slow-start: %u %% of its share",
                 100 * part / PICK_PART_WHOLE);
}

static const char *format_server_addr(const struct addr *addr, char text[static ADDR_TEXT_MAX])
{
    addr_format(addr, text);
    if (addr_lacks_port(addr))
        *strrchr(text, ':') = '\0';
    return text;
}

void snapshot_take_server(const struct snapshot_from *from, const struct service *service,
                          const struct backend *backend, struct snapshot_server *ret)
{
    const struct report_sources sources = {
        .services = from->services, .group = from->group, .prober = from->prober};
    uint32_t standing = backend_standing(backend);

    ret->service = service->name;
    ret->name = backend->name;
    format_server_addr(&backend->addr, ret->addr);
    ret->state = snapshot_state(standing);
    ret->health = health_word(standing);
    ret->weight = standing & PICK_WEIGHT_MASK;
    ret->is_backup = standing & PICK_BACKUP;
    ret->priority = ((standing & PICK_PRIORITY_MASK) >> (unsigned)PICK_PRIORITY_SHIFT) + 1;
    ret->active = backend_active(backend);
    ret->maxconn = backend_limit(backend);
    take_notes(backend, standing, ret);
    add_ramp(standing, ret);
    add_farewell(backend, ret);
    report_sum_server(&sources, backend, &ret->stats);
}

struct service *snapshot_find_service(const struct snapshot_from *from, const char *name)
{
    return service_table_find(from->services, name);
}

struct backend *snapshot_find_server(const struct service *service, const char *name)
{
    for (size_t i = 0; i < service->n_places; i++) {
        struct backend *backend = &service->backends[i];

        if (backend->state == BACKEND_SERVING && strcmp(backend->name, name) == 0)
            return backend;
    }
    return NULL;
}

/* --- the process ------------------------------------------------------------------------------ */

/* From Linux 6.2 on the folder's size is their number. Before, without the one that reads the
 * folder, and its two dots. */
static uint64_t count_descriptors(void)
{
    struct stat status;
    DIR *folder;
    uint64_t n = 0;

    if (stat("/proc/self/fd", &status) == 0 && status.st_size > 0)
        return (uint64_t)status.st_size;
    folder = opendir("/proc/self/fd");
    if (!folder)
        return 0;
    while (readdir(folder))
        n++;
    closedir(folder);
    return n > 3 ? n - 3 : 0;
}

static void add_worker(const struct stats_worker *stats, struct snapshot_process *ret)
{
    ret->copy_bytes += stats_read(&stats->relayed_copy);
    ret->splice_bytes += stats_read(&stats->relayed_splice);
    ret->pipes_idle += stats_read(&stats->pipes_idle);
    ret->pipes_lent += stats_read(&stats->pipes_lent);
}

static uint64_t wall_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * CLOCK_NS_PER_S + (uint64_t)now.tv_nsec;
}

void snapshot_take_process(const struct snapshot_from *from, struct snapshot_process *ret)
{
    uint64_t uptime_ns = clock_now_ns() - from->started_ns;

    *ret = (struct snapshot_process){
        .uptime_s = uptime_ns / CLOCK_NS_PER_S,
        .n_connections = capacity_used(&from->group->capacity),
        .n_udp_sessions = udp_room_used(&from->group->udp_room),
        .n_descriptors = count_descriptors(),
        .started_s = (wall_ns() - uptime_ns) / CLOCK_NS_PER_S,
        .log_dropped = log_dropped_total(),
    };
    for (size_t i = 0; i < from->group->n_workers; i++)
        add_worker(&from->group->stats[i].worker, ret);
    if (!from->reload)
        return;
    ret->reloads_ok = from->reload->n_good;
    ret->reloads_failed = from->reload->n_failed;
}

/* The closed before the opened, as in stats_sum_service(). */
void snapshot_take_worker(const struct snapshot_from *from, size_t worker,
                          struct snapshot_worker *ret)
{
    const struct stats_worker *stats = &from->group->stats[worker].worker;
    uint64_t closed = stats_read(&stats->closed);

    ret->total = stats_read(&stats->connections);
    ret->active = ret->total - closed;
    ret->handed_over = stats_read(&stats->handed_over);
}
