/* Listeners on Unix sockets: there is no SO_REUSEPORT for them, so one worker owns the only socket
 * and hands connections on, as with sockets that were passed to us (worker/inherited.h). Their
 * files are made, given their mode, and removed here. Thread: control, or main before there are
 * others. */
#ifndef LB4_WORKER_LISTENER_UNIX_H
#define LB4_WORKER_LISTENER_UNIX_H

#include <sys/types.h>

#include "lb4/worker/listener.h"

/* Is its path in use? Nothing is changed. Returns 0, or -errno with a sentence in `reterr`. */
int listener_unix_probe(const struct listener *listener, char reterr[static LISTENER_ERROR_MAX]);

/* Make the socket; its file is noted in the listener. Returns a descriptor, or -errno with a
 * sentence. */
int listener_unix_bind(struct listener *listener, const struct listener_owner *owner,
                       char reterr[static LISTENER_ERROR_MAX]);

/* Its descriptor is closed: remove the file if it is ours. What goes wrong is logged. */
void listener_unix_remove(struct listener *listener);

/* Has somebody removed its file? Nobody can connect, until it is bound anew. */
bool listener_unix_is_lost(const struct listener *listener);

/* A reload says another mode. Sockets that were passed to us keep theirs. What goes wrong is
 * logged. */
void listener_unix_set_mode(struct listener *listener, uint32_t mode);

#endif
