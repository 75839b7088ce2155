/* What `keel ctl input` says, as inputs: a step a string.
 *
 *     move X Y · down [BUTTON] · up [BUTTON] · click X Y [BUTTON] · wheel DX DY · leave
 *     key [MOD+…]NAME · keydown NAME · keyup NAME · text TEXT · compose TEXT · paste TEXT
 *     drop TEXT · resize WIDTH HEIGHT [SCALE] · focus · blur · frame [COUNT]
 *
 * Names of keys are those of KEEL_KEYS in small letters. Pure; the caller's thread. */
#ifndef CONTROL_INPUT_WORDS_H
#define CONTROL_INPUT_WORDS_H

#include <jansson.h>

#include "host/host.h"

enum { INPUT_WORDS_MOST = 10000 }; /* inputs of one request, `frame N` counts N */

/* `steps` is a JSON array of strings; anything else is refused with a sentence. The result is for
 * host_input_script. */
int input_words_read(const json_t *steps, Slot *slot, HostInputStep **ret_steps,
                     uint32_t *ret_count, Error *err);

#endif
