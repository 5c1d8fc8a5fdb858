/* What services lack: probes, a second server, or any. Part of control/doctor_findings. */
#ifndef LB4_CONTROL_DOCTOR_SERVICES_H
#define LB4_CONTROL_DOCTOR_SERVICES_H

#include "lb4/control/doctor_findings.h"

void doctor_find_services(const struct doctor_facts *facts, struct doctor_findings *findings);

#endif
