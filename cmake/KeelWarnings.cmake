# Flags of every target of this tree, and its sanitizers.
# gcc warns of sentences that are cut, and are meant to be; clang of libseccomp's macros.
if(CMAKE_C_COMPILER_ID MATCHES "Clang")
  set(KEEL_WARNED_WRONGLY -Wno-missing-field-initializers)
else()
  set(KEEL_WARNED_WRONGLY -Wno-format-truncation)
endif()
add_compile_options(-Wall -Wextra -Wshadow -Wvla -Wundef -Wpointer-arith ${KEEL_WARNED_WRONGLY}
                    $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes> $<$<COMPILE_LANGUAGE:C>:-Wmissing-prototypes>
                    -fno-omit-frame-pointer -fstack-protector-strong)
add_compile_definitions(_GNU_SOURCE)
if(KEEL_SANITIZE)
  add_compile_options(-fsanitize=${KEEL_SANITIZE} -fno-sanitize-recover=undefined)
  add_link_options(-fsanitize=${KEEL_SANITIZE})
endif()
