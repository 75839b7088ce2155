# keel_add_module(NAME SOURCE...): a module, built the way that a swap can prove, carry over and take out.
# Used by this tree and installed for others.
#
# What the flags are for:
#   hidden visibility      one exported symbol; dlopen gets several times cheaper
#   -z now                 every symbol is bound before the swap, none at a frame
#   build id               names the image in status and reports
#   sections, emit-relocs  tell what a rebuild changed
#   no-gnu-unique          C++ inline statics would keep the image loaded for ever
#   file-prefix-map        the same source gives the same image in any folder
#   static libstdc++       C++ library code then shares the module's heap
#   version script         one exported symbol also where headers ask for visible ones, as std:: templates do: the
#                          host's libstdc++ must not take their place
option(KEEL_EMBED_TYPES "Keep modules' types in them (keel types --embed), so that they can be stripped" OFF)
set(KEEL_MODULE_COMPILE_OPTIONS -g -ffunction-sections -fdata-sections -fno-semantic-interposition)
set(KEEL_MODULE_LINK_OPTIONS -Wl,-z,now -Wl,--build-id=sha1 -Wl,--emit-relocs -Wl,--exclude-libs,ALL
    -Wl,--version-script=${CMAKE_CURRENT_LIST_DIR}/keel-module.map)
set(KEEL_MODULE_LINK_OPTIONS_CXX -static-libstdc++ -Wl,-u,_Znwm -Wl,-u,abort -Wl,-u,strdup
  -Wl,-u,pthread_create)

function(keel_add_module name)
  add_library(${name} MODULE ${ARGN})
  set_target_properties(${name} PROPERTIES
    PREFIX "" SUFFIX ".so"
    C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    POSITION_INDEPENDENT_CODE ON)
  target_compile_options(${name} PRIVATE ${KEEL_MODULE_COMPILE_OPTIONS}
    -ffile-prefix-map=${CMAKE_SOURCE_DIR}/=)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fno-gnu-unique>)
  endif()
  target_link_options(${name} PRIVATE ${KEEL_MODULE_LINK_OPTIONS} -Wl,-z,defs)
  # A module is loaded as users build it; one that needs a sanitizer's runtime would be refused.
  if(KEEL_SANITIZE)
    target_compile_options(${name} PRIVATE -fno-sanitize=all)
    target_link_options(${name} PRIVATE -fno-sanitize=all)
  endif()
  target_link_libraries(${name} PRIVATE keel::abi)
  # By file: its C++ member (operator new) must not make a C module need libstdc++. The archive stands before
  # libstdc++ and libc; named as undefined, its members are taken before theirs are looked at, also for what only
  # libstdc++ itself calls.
  target_link_libraries(${name} PRIVATE $<TARGET_FILE:keel::shim> ${CMAKE_DL_LIBS})
  target_link_options(${name} PRIVATE -Wl,-u,malloc "$<$<LINK_LANGUAGE:CXX>:${KEEL_MODULE_LINK_OPTIONS_CXX}>")
  if(TARGET keel_shim)
    add_dependencies(${name} keel_shim)
  endif()
  if(KEEL_EMBED_TYPES)
    if(TARGET keel)
      set(program $<TARGET_FILE:keel>)
      add_dependencies(${name} keel)
    else()
      find_program(KEEL_PROGRAM keel REQUIRED)
      set(program ${KEEL_PROGRAM})
    endif()
    add_custom_command(TARGET ${name} POST_BUILD COMMAND ${program} types --embed $<TARGET_FILE:${name}> VERBATIM)
  endif()
endfunction()
