/* Bytes of a terminal into keys: characters as they are, and what the cursor keys of a VT100 and
 * its descendants send (ESC [ A, ESC O A, ESC [ 5 ~ ...). Pure. */
#ifndef LB4_LB4CTL_KEYS_H
#define LB4_LB4CTL_KEYS_H

enum {
    KEY_NONE = 0, /* in the middle of a sequence, or one that means nothing here */
    KEY_INTERRUPT = 3,
    KEY_TAB = 9,
    KEY_REDRAW = 12,
    KEY_ENTER = 13,
    KEY_SUSPEND = 26,
    KEY_UP = 256, /* behind all bytes */
    KEY_DOWN,
    KEY_RIGHT,
    KEY_LEFT,
    KEY_HOME,
    KEY_END,
    KEY_PAGE_UP,
    KEY_PAGE_DOWN,
    KEY_BACK_TAB
};

/* All zero at the begin. */
struct keys {
    enum { KEYS_PLAIN, KEYS_ESCAPE, KEYS_SEQUENCE, KEYS_SINGLE } state;
    int number; /* of a sequence, the first */
};

/* The next byte: the key that is complete with it. */
int keys_take(struct keys *keys, unsigned char byte);

#endif
