/* The files of a folder that `keel new` makes. Pure. */
#ifndef APP_NEW_TEXT_H
#define APP_NEW_TEXT_H

#include "base/buf.h"

typedef enum NewLanguage { NEW_C, NEW_CXX } NewLanguage;
enum { NEW_FILES = 6 };

/* File `index` of the folder: its path below it and its text for a module `name`; `program` is the
 * path of keel. 0 or KEEL_ENOMEM. */
int new_text(NewLanguage language, int index, const char *name, const char *program, Buf *ret_path,
             Buf *ret_text);

/* The CMakeLists.txt among them, by which `keel dev` knows a folder that needs no CMake yet. */
int new_text_cmake(NewLanguage language, const char *name, Buf *ret_text);

#endif
