/* The live page, one self-contained HTML file that the build embeds: src/control/page/page.html.
 * Constant; any thread. */
#ifndef LB4_CONTROL_PAGE_H
#define LB4_CONTROL_PAGE_H

#include <stddef.h>

/* What it may do: run the script and the styles that it carries, show images that it carries, and
 * ask this server. Nothing from elsewhere, and nobody may frame it. */
extern const char page_security_policy[];

/* The file, byte for byte; no NUL behind it. */
const char *page_bytes(size_t *ret_n_bytes);

#endif
