/* What the network's limits mean for lb4. Part of control/doctor_findings. */
#ifndef LB4_CONTROL_DOCTOR_NETWORK_H
#define LB4_CONTROL_DOCTOR_NETWORK_H

#include "lb4/control/doctor_findings.h"

/* New connections each second to one address of a server, for ever, where it is lb4 that ends
 * first there, as it does when the client does. 0 = less than one. `is_near`: over loopback. */
uint64_t doctor_rate(const struct doctor_kernel *kernel, bool is_near);

void doctor_find_network(const struct doctor_facts *facts, struct doctor_findings *findings);

#endif
