/*              ESC            [              a letter, or ~
 *     plain --------> escape ----> sequence ---------------> plain
 *                        | O             any letter
 *                        +-------> single ---------> plain              (ECMA-48, section 5.4) */
#include "lb4/lb4ctl/keys.h"

enum { ESCAPE = 27, NUMBER_MOST = 999 };

static int of_letter(unsigned char byte)
{
    switch (byte) {
    case 'A':
        return KEY_UP;
    case 'B':
        return KEY_DOWN;
    case 'C':
        return KEY_RIGHT;
    case 'D':
        return KEY_LEFT;
    case 'F':
        return KEY_END;
    case 'H':
        return KEY_HOME;
    case 'Z':
        return KEY_BACK_TAB;
    default:
        return KEY_NONE;
    }
}

static int of_number(int number)
{
    switch (number) {
    case 1:
    case 7:
        return KEY_HOME;
    case 4:
    case 8:
        return KEY_END;
    case 5:
        return KEY_PAGE_UP;
    case 6:
        return KEY_PAGE_DOWN;
    default:
        return KEY_NONE;
    }
}

/* Parameters and intermediates go on; a final byte ends it. */
static int take_in_sequence(struct keys *keys, unsigned char byte)
{
    if (byte >= '0' && byte <= '9' && keys->number <= NUMBER_MOST)
        keys->number = keys->number * 10 + byte - '0';
    if (byte < 0x40 || byte > 0x7e)
        return KEY_NONE;
    keys->state = KEYS_PLAIN;
    return byte == '~' ? of_number(keys->number) : of_letter(byte);
}

static int take_behind_escape(struct keys *keys, unsigned char byte)
{
    keys->number = 0;
    keys->state = byte == '['      ? KEYS_SEQUENCE
                  : byte == 'O'    ? KEYS_SINGLE
                  : byte == ESCAPE ? KEYS_ESCAPE
                                   : KEYS_PLAIN;
    return keys->state == KEYS_PLAIN ? byte : KEY_NONE;
}

int keys_take(struct keys *keys, unsigned char byte)
{
    switch (keys->state) {
    case KEYS_PLAIN:
        break;
    case KEYS_ESCAPE:
        return take_behind_escape(keys, byte);
    case KEYS_SEQUENCE:
        return take_in_sequence(keys, byte);
    case KEYS_SINGLE:
        keys->state = KEYS_PLAIN;
        return of_letter(byte);
    }
    if (byte == ESCAPE)
        keys->state = KEYS_ESCAPE;
    return byte == ESCAPE ? KEY_NONE : byte;
}
