/* All listeners of a configuration on one transport in a sorted table: who listens twice, and is a
 * server one of our own listeners? A port of TCP and one of UDP have nothing to do with each other;
 * what listens on both is in both tables. Internal to conf/. */
#ifndef LB4_CONF_LISTENERS_H
#define LB4_CONF_LISTENERS_H

#include <stddef.h>
#include <stdint.h>

#include "lb4/base/addr.h"
#include "lb4/conf/model.h"
#include "lb4/conf/report.h"

/* A range of ports on one host. A ":port" listener is two of them, of the wildcards of both
 * families. */
struct listen_entry {
    struct addr host; /* port 0 */
    uint16_t first_port;
    uint16_t last_port;
    const char *interface; /* "" = any */
    const struct conf_listen *listen;
};

struct listeners {
    enum conf_transport transport;
    struct listen_entry *entries; /* by host, interface, first_port; no overlaps within those */
    size_t n_entries;
};

/* Build the table of `transport`, CONF_TCP or CONF_UDP; listeners that overlap on one host are
 * reported (the later line of the two; what meets on TCP is not told again for UDP) and merged.
 * Returns 0 or -ENOMEM. `conf` must outlive the table. */
int listeners_init(struct listeners *listeners, const struct conf *conf,
                   enum conf_transport transport, struct conf_report *report);
void listeners_fini(struct listeners *listeners);

/* For what comes from this machine, by its loopback whatever the address: those of other interfaces
 * are not reached. The listener on exactly this host (whose port is ignored) that has a port in
 * first..last, or NULL. */
const struct conf_listen *listeners_find(const struct listeners *listeners, const struct addr *host,
                                         uint16_t first_port, uint16_t last_port);

#endif
