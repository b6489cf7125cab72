// A loaded library's calls go straight to where they lead.
//
// A function of a shared library that others could replace is called by way of a table (the PLT), and in libsumo's
// Python module that is almost every call of one function of SUMO by another: a jump, a look into memory and an
// indirect jump each. Once the library is loaded it is known where each leads, so the call's own four bytes can say
// it. It is what the linker does when it is told `-Bsymbolic`; what is computed does not change.
//
// Nothing is guessed. A function is taken only if its instructions, one after the other, end where the library's own
// table of functions (for unwinding, .eh_frame_hdr) says that it ends, and a call only if it leads to a jump by way of
// a slot that the library's relocations name. Everything else stays as it is.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__x86_64__) && defined(__GLIBC__)

#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include "instructions.h"

namespace {

using Byte = std::uint8_t;

template <typename T>
T read(const Byte* at) {
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

// What the loader knows of a library.
struct Library {
    const char* path = nullptr;
    const Byte* base = nullptr;
    const Byte *code = nullptr, *code_end = nullptr;
    const Byte* functions = nullptr;   // .eh_frame_hdr
    const Byte *slots = nullptr, *slots_end = nullptr;
    std::vector<bool> is_slot;         // every eighth byte from `slots`

    bool complete() const { return code != nullptr && functions != nullptr && slots != nullptr; }
};

int find(dl_phdr_info* info, std::size_t, void* data) {
    Library& library = *static_cast<Library*>(data);
    if (std::strcmp(info->dlpi_name, library.path) != 0) {
        return 0;
    }
    const Byte* const base = library.base = reinterpret_cast<const Byte*>(info->dlpi_addr);
    const ElfW(Dyn)* dynamic = nullptr;
    for (int n = 0; n < info->dlpi_phnum; ++n) {
        const ElfW(Phdr)& part = info->dlpi_phdr[n];
        const Byte* const at = base + part.p_vaddr;
        if (part.p_type == PT_DYNAMIC) {
            dynamic = reinterpret_cast<const ElfW(Dyn)*>(at);
        } else if (part.p_type == PT_GNU_EH_FRAME) {
            library.functions = at;
        } else if (part.p_type == PT_LOAD && part.p_flags & PF_X && library.code == nullptr) {
            library.code = at;
            library.code_end = at + part.p_memsz;
        }
    }
    const ElfW(Rela)* relocations = nullptr;
    std::size_t size = 0;
    for (; dynamic != nullptr && dynamic->d_tag != DT_NULL; ++dynamic) {
        if (dynamic->d_tag == DT_JMPREL) {
            relocations = reinterpret_cast<const ElfW(Rela)*>(dynamic->d_un.d_ptr);
        } else if (dynamic->d_tag == DT_PLTRELSZ) {
            size = dynamic->d_un.d_val / sizeof(ElfW(Rela));
        }
    }
    for (std::size_t n = 0; relocations != nullptr && n < size; ++n) {
        const Byte* const slot = base + relocations[n].r_offset;
        library.slots = library.slots == nullptr || slot < library.slots ? slot : library.slots;
        library.slots_end = slot + 8 > library.slots_end ? slot + 8 : library.slots_end;
    }
    library.is_slot.assign((library.slots_end - library.slots) / 8, false);
    for (std::size_t n = 0; relocations != nullptr && n < size; ++n) {
        const std::ptrdiff_t offset = base + relocations[n].r_offset - library.slots;
        library.is_slot[offset / 8] = offset % 8 == 0;
    }
    return 1;
}

// Where a jump by way of a slot leads; null where this is none, or one that the loader has not resolved yet.
const Byte* led_to(const Library& library, const Byte* at) {
    if (at < library.code || at + 16 > library.code_end) {
        return nullptr;
    }
    at += read<std::uint32_t>(at) == 0xfa1e0ff3 ? 4 : 0;  // endbr64
    at += *at == 0xf2 ? 1 : 0;                            // bnd
    if (at[0] != 0xff || at[1] != 0x25) {
        return nullptr;
    }
    const Byte* const slot = at + 6 + read<std::int32_t>(at + 2);
    const std::ptrdiff_t offset = slot - library.slots;
    if (slot < library.slots || slot >= library.slots_end || offset % 8 != 0 || !library.is_slot[offset / 8]) {
        return nullptr;
    }
    const Byte* const target = read<const Byte*>(slot);
    if (target >= library.code && target + 16 <= library.code_end) {
        const Byte* const first = target + (read<std::uint32_t>(target) == 0xfa1e0ff3 ? 4 : 0);
        if (first[0] == 0x68 && (first[5] == 0xe9 || (first[5] == 0xf2 && first[6] == 0xe9))) {
            return nullptr;  // back into the table: not resolved yet
        }
    }
    return target;
}

struct Change {
    Byte* at;                          // the four bytes of a call
    std::int32_t distance;
};

// A function's calls that can be made direct; none where its instructions do not end at its end.
void read_function(const Library& library, const Byte* at, const Byte* end, std::vector<Change>& changes) {
    const std::size_t before = changes.size();
    if (at < library.code || end + instructions::LONGEST > library.code_end) {
        return;
    }
    while (at != nullptr && at < end) {
        if (*at == 0xe8 || *at == 0xe9) {  // call, jump
            const Byte* const after = at + 5;
            const Byte* const target = led_to(library, after + read<std::int32_t>(at + 1));
            const std::ptrdiff_t distance = target - after;
            if (target != nullptr && distance == std::int32_t(distance)) {
                changes.push_back({const_cast<Byte*>(at + 1), std::int32_t(distance)});
            }
        }
        at = instructions::next(at);
    }
    if (at != end) {
        changes.resize(before);
    }
}

// All functions of the table of which the library has an entry, as the Linux Standard Base describes .eh_frame_hdr.
std::vector<Change> read_functions(const Library& library) {
    std::vector<Change> changes;
    const Byte* const header = library.functions;
    // version 1; the table in signed distances of four bytes from the header, their number in four bytes
    if (header[0] != 1 || header[2] != 0x03 || header[3] != 0x3b || (header[1] & 0x0f) != 0x0b) {
        return changes;
    }
    const std::uint32_t count = read<std::uint32_t>(header + 8);
    for (std::uint32_t n = 0; n < count; ++n) {
        const Byte* const entry = header + 12 + 8 * std::size_t(n);
        const Byte* const begin = header + read<std::int32_t>(entry);
        const Byte* const record = header + read<std::int32_t>(entry + 4);
        // length, its common part, where it begins (a signed distance from here), how long it is
        const Byte* const said = record + 8 + read<std::int32_t>(record + 8);
        if (read<std::uint32_t>(record) != 0xffffffff && said == begin) {
            read_function(library, begin, begin + read<std::uint32_t>(record + 12), changes);
        }
    }
    return changes;
}

}  // namespace

extern "C" {

// How many calls of a loaded library now lead straight to their target; -1: it was left as it was. To be called while
// none of its code runs, in a process that keeps it to the end.
std::int64_t call_directly(const char* path) {
    Library library;
    library.path = path;
    dl_iterate_phdr(find, &library);
    if (!library.complete()) {
        return -1;
    }
    const std::vector<Change> changes = read_functions(library);
    const std::uintptr_t page = sysconf(_SC_PAGESIZE), first = std::uintptr_t(library.code) & ~(page - 1);
    const std::size_t size = std::uintptr_t(library.code_end) - first;
    void* const begin = reinterpret_cast<void*>(first);
    // executable all the time, so that a system that forbids it says so before anything has changed
    if (changes.empty() || mprotect(begin, size, PROT_READ | PROT_WRITE | PROT_EXEC) != 0) {
        return -1;
    }
    for (const Change& change : changes) {
        std::memcpy(change.at, &change.distance, sizeof change.distance);
    }
    mprotect(begin, size, PROT_READ | PROT_EXEC);
    return std::int64_t(changes.size());
}

}  // extern "C"

#else

extern "C" std::int64_t call_directly(const char*) { return -1; }

#endif
