/* The assembler copies the file: no generated source, no limit on its length. */
#include "lb4/control/page.h"

#include <stdint.h>

/* clang-format off */
__asm__(".pushsection .rodata\n"
        ".globl page_html, page_html_bytes\n"
        ".hidden page_html, page_html_bytes\n"
        ".balign 8\n"
        "page_html_bytes:\n"
        ".quad page_html_end - page_html\n"
        "page_html:\n"
        ".incbin \"" LB4_PAGE_FILE "\"\n"
        "page_html_end:\n"
        ".popsection\n");
/* clang-format on */

extern const char page_html[] __attribute__((visibility("hidden")));
extern const uint64_t page_html_bytes __attribute__((visibility("hidden")));

const char page_security_policy[] =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const char *page_bytes(size_t *ret_n_bytes)
{
    *ret_n_bytes = page_html_bytes;
    return page_html;
}
