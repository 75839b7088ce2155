/* Keel ABI 1.0: all that a module includes. */
#ifndef KEEL_H
#define KEEL_H

#include "base.h"
#include "context.h"
#include "module.h"
#include "state.h"
#include "log.h"
#include "time.h"
#include "task.h"
#include "draw.h"
#include "tweak.h"
#include "input.h"
#include "asset.h"
#include "change.h"
#include "audio.h"

#endif
