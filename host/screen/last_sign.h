/* What is said over a last picture that stays for more than a moment: that it is one, and of when.
 * A list of the host's own. Frame thread. */
#ifndef SCREEN_LAST_SIGN_H
#define SCREEN_LAST_SIGN_H

#include "swap/draw.h"

typedef struct LastSign {
    int64_t since_ns; /* when the picture came up; 0: there is none */
    int shown;
    float width, height; /* of the view it was made for */
    DrawList list;
} LastSign;

/* `wall_ns` is when the picture was drawn; 0: there is none to be seen. */
void last_sign_look(LastSign *sign, int64_t wall_ns, const DrawScreen *screen, int64_t now_ns);
void last_sign_done(LastSign *sign);

#endif
