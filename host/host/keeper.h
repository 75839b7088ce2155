/* What a host keeps of one slot outside the process: its journal, and its state.
 *
 * The state lies in a memory file system while the host runs, where it costs what other memory does
 * and is still there when the host was killed; and in a snapshot on disk, written now and then and
 * at the end, which survives the machine. A slot that is made with the same folder again goes on
 * from the newer of the two.
 *
 * Made and ended on the frame thread; between, libuv's pool does what may block. */
#ifndef HOST_KEEPER_H
#define HOST_KEEPER_H

#include "host/host.h"
#include "swap/recorder.h"

typedef struct Keeper Keeper;

/* What a slot's State is to be opened with: fills base, max_bytes and folder of `options` by what
 * the folder `dir` holds for a slot of this name; `folder` is room for the last. `ret_snapshot`:
 * its file there, whether it is there or not. [frame] */
enum { KEEPER_PATH = 4200 };
#define KEEPER_ENDING ".state"
#define KEEPER_PICTURE ".picture" /* beside it: what the slot showed */
int keeper_look(const char *dir, const char *name, StateOptions *options, char folder[KEEPER_PATH],
                char ret_snapshot[KEEPER_PATH], Error *err);

/* What the slot showed when it was kept, or NULL; said where it can't be used. `snapshot` as
 * keeper_look said. [any] */
struct LastPicture *keeper_picture(const char *snapshot, const char *name);

/* Begins to keep a slot that nothing runs in yet, and gives it back what was kept of it. `journal`
 * is a file or NULL, `snapshot` as keeper_look said or NULL, `every_ns` between two snapshots.
 * [frame] */
int keeper_new(Host *host, Slot *slot, const char *journal, const char *snapshot, int64_t every_ns,
               Keeper **ret, Error *err);

/* Writes the last snapshot and ends the journal; waits for what is being written. NULL is fine.
 * [frame] */
void keeper_free(Keeper *keeper);

#endif
