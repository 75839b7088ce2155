# Flags of every target of this tree, and its sanitizers.
add_compile_options(-Wall -Wextra -Wshadow -Wvla -Wundef -Wpointer-arith -Wno-format-truncation # sentences that are cut are meant to be
                                        $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes> $<$<COMPILE_LANGUAGE:C>:-Wmissing-prototypes>
                    -fno-omit-frame-pointer -fstack-protector-strong)
add_compile_definitions(_GNU_SOURCE)
if(KEEL_SANITIZE)
  add_compile_options(-fsanitize=${KEEL_SANITIZE} -fno-sanitize-recover=undefined)
  add_link_options(-fsanitize=${KEEL_SANITIZE})
endif()
