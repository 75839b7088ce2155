// operator new and delete on the module's own malloc, so that a std::vector lives in the arena.
// Pulled only into modules that have C++ in them. Any thread.
#include <cstdlib>
#include <new>

#include "shim.h"

namespace
{

void *get(std::size_t bytes, std::size_t align)
{
    return align <= 16 ? std::malloc(bytes ? bytes : 1) : ::aligned_alloc(align, bytes ? bytes : 1);
}

void *get_or_throw(std::size_t bytes, std::size_t align)
{
    for (;;) {
        if (void *p = get(bytes, align))
            return p;
        std::new_handler handler = std::get_new_handler();
        if (!handler)
            throw std::bad_alloc();
        handler();
    }
}

void *get_or_null(std::size_t bytes, std::size_t align) noexcept
{
    try {
        return get_or_throw(bytes, align);
    } catch (...) {
        return nullptr;
    }
}

std::size_t number(std::align_val_t align)
{
    return static_cast<std::size_t>(align);
}

} // namespace

// The standard's header declares them visible, and a declaration's visibility can't be lowered
// later.
__asm__(".hidden _Znwm\n"
        ".hidden _Znam\n"
        ".hidden _ZnwmSt11align_val_t\n"
        ".hidden _ZnamSt11align_val_t\n"
        ".hidden _ZnwmRKSt9nothrow_t\n"
        ".hidden _ZnamRKSt9nothrow_t\n"
        ".hidden _ZnwmSt11align_val_tRKSt9nothrow_t\n"
        ".hidden _ZnamSt11align_val_tRKSt9nothrow_t\n"
        ".hidden _ZdlPv\n"
        ".hidden _ZdaPv\n"
        ".hidden _ZdlPvm\n"
        ".hidden _ZdaPvm\n"
        ".hidden _ZdlPvSt11align_val_t\n"
        ".hidden _ZdaPvSt11align_val_t\n"
        ".hidden _ZdlPvmSt11align_val_t\n"
        ".hidden _ZdaPvmSt11align_val_t\n"
        ".hidden _ZdlPvRKSt9nothrow_t\n"
        ".hidden _ZdaPvRKSt9nothrow_t\n"
        ".hidden _ZdlPvSt11align_val_tRKSt9nothrow_t\n"
        ".hidden _ZdaPvSt11align_val_tRKSt9nothrow_t\n");

void *operator new(std::size_t n)
{
    return get_or_throw(n, 16);
}
void *operator new[](std::size_t n)
{
    return get_or_throw(n, 16);
}
void *operator new(std::size_t n, std::align_val_t a)
{
    return get_or_throw(n, number(a));
}
void *operator new[](std::size_t n, std::align_val_t a)
{
    return get_or_throw(n, number(a));
}
void *operator new(std::size_t n, const std::nothrow_t &) noexcept
{
    return get_or_null(n, 16);
}
void *operator new[](std::size_t n, const std::nothrow_t &) noexcept
{
    return get_or_null(n, 16);
}
void *operator new(std::size_t n, std::align_val_t a, const std::nothrow_t &) noexcept
{
    return get_or_null(n, number(a));
}
void *operator new[](std::size_t n, std::align_val_t a, const std::nothrow_t &) noexcept
{
    return get_or_null(n, number(a));
}

void operator delete(void *p) noexcept
{
    std::free(p);
}
void operator delete[](void *p) noexcept
{
    std::free(p);
}
void operator delete(void *p, std::size_t) noexcept
{
    std::free(p);
}
void operator delete[](void *p, std::size_t) noexcept
{
    std::free(p);
}
void operator delete(void *p, std::align_val_t) noexcept
{
    std::free(p);
}
void operator delete[](void *p, std::align_val_t) noexcept
{
    std::free(p);
}
void operator delete(void *p, std::size_t, std::align_val_t) noexcept
{
    std::free(p);
}
void operator delete[](void *p, std::size_t, std::align_val_t) noexcept
{
    std::free(p);
}
void operator delete(void *p, const std::nothrow_t &) noexcept
{
    std::free(p);
}
void operator delete[](void *p, const std::nothrow_t &) noexcept
{
    std::free(p);
}
void operator delete(void *p, std::align_val_t, const std::nothrow_t &) noexcept
{
    std::free(p);
}
void operator delete[](void *p, std::align_val_t, const std::nothrow_t &) noexcept
{
    std::free(p);
}
