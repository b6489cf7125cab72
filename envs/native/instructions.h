// How long a machine instruction is (x86-64), without saying what it does.
//
// After the opcode maps in volume 2 of Intel's "64 and IA-32 Architectures Software Developer's Manual", appendix A.
// What a compiler does not write for processors without AVX is left unknown.
#pragma once

#include <cstdint>

namespace instructions {

enum Follows : std::uint8_t {
    none = 0,
    modrm = 1,
    byte1 = 2,
    byte2 = 4,
    full = 8,      // four bytes, two with the prefix 66
    branch = 16,   // four bytes, whatever the prefixes
    wide = 32,     // as full, but eight bytes with REX.W
    group = 64,    // F6 and F7: only two of the eight instructions have an operand after them
    unknown = 128,
};

// What follows an opcode of one byte.
inline std::uint8_t after_one(std::uint8_t opcode) {
    if (opcode < 0x40) {  // eight blocks of arithmetic; the rest of each is prefixes or not for 64 bits
        switch (opcode & 7) {
            case 0: case 1: case 2: case 3: return modrm;
            case 4: return byte1;
            case 5: return full;
            default: return unknown;
        }
    }
    switch (opcode) {
        case 0x63: case 0x84: case 0x85: case 0x86: case 0x87: case 0x88: case 0x89: case 0x8a: case 0x8b: case 0x8c:
        case 0x8d: case 0x8e: case 0x8f: case 0xd0: case 0xd1: case 0xd2: case 0xd3: case 0xd8: case 0xd9: case 0xda:
        case 0xdb: case 0xdc: case 0xdd: case 0xde: case 0xdf: case 0xfe: case 0xff:
            return modrm;
        case 0x6b: case 0x80: case 0x83: case 0xc0: case 0xc1: case 0xc6: return modrm | byte1;
        case 0x69: case 0x81: case 0xc7: return modrm | full;
        case 0xf6: return modrm | byte1 | group;
        case 0xf7: return modrm | full | group;
        case 0x6a: case 0xa8: case 0xcd: case 0xeb: return byte1;
        case 0x68: case 0xa9: return full;
        case 0xe8: case 0xe9: return branch;
        case 0xc2: return byte2;
        case 0xc8: return byte1 | byte2;
        case 0xc3: case 0xc9: case 0xcc: case 0xf1: case 0xf4: case 0xf5: return none;
    }
    if ((opcode >= 0x70 && opcode < 0x80) || (opcode >= 0xb0 && opcode < 0xb8) || (opcode >= 0xe0 && opcode < 0xe4)) {
        return byte1;
    }
    if (opcode >= 0xb8 && opcode < 0xc0) {
        return wide;
    }
    const bool plain = (opcode >= 0x50 && opcode < 0x60) || (opcode >= 0x90 && opcode < 0x9a)
        || (opcode > 0x9a && opcode < 0xa0) || (opcode >= 0xa4 && opcode < 0xa8)
        || (opcode >= 0xaa && opcode < 0xb0) || (opcode >= 0xf8 && opcode < 0xfe);
    return plain ? none : unknown;
}

// What follows one of two bytes, the first of them 0F.
inline std::uint8_t after_two(std::uint8_t opcode) {
    if (opcode >= 0x80 && opcode < 0x90) {
        return branch;
    }
    if (opcode >= 0xc8 && opcode < 0xd0) {
        return none;
    }
    switch (opcode) {
        case 0x05: case 0x0b: case 0x31: case 0x77: case 0xa2: return none;
        case 0x70: case 0x71: case 0x72: case 0x73: case 0xa4: case 0xac: case 0xba: case 0xc2: case 0xc4: case 0xc5:
        case 0xc6:
            return modrm | byte1;
    }
    const bool usual = opcode == 0x0d || (opcode >= 0x10 && opcode < 0x20) || (opcode >= 0x28 && opcode < 0x30)
        || (opcode >= 0x40 && opcode < 0x70) || (opcode >= 0x74 && opcode < 0x80)
        || (opcode >= 0x90 && opcode < 0xa0) || opcode == 0xa3 || opcode == 0xa5 || opcode == 0xab
        || (opcode >= 0xad && opcode < 0xb9) || (opcode > 0xba && opcode < 0xc2) || opcode == 0xc3
        || opcode == 0xc7 || (opcode >= 0xd0 && opcode < 0xff) || opcode == 0xae;
    return usual ? modrm : unknown;
}

constexpr int LONGEST = 15;

// Where the instruction after this one begins; null where this one is not known. Reads no more than LONGEST bytes.
inline const std::uint8_t* next(const std::uint8_t* at) {
    const std::uint8_t* const begin = at;
    bool short_operand = false;
    for (; at - begin < 4; ++at) {
        if (*at == 0x66) {
            short_operand = true;
        } else if (*at != 0xf2 && *at != 0xf3 && *at != 0xf0 && *at != 0x2e && *at != 0x3e && *at != 0x64) {
            break;
        }
    }
    const bool extended = (*at & 0xf0) == 0x40;
    const bool wide_operand = extended && *at & 8;
    at += extended;
    std::uint8_t follows;
    if (*at != 0x0f) {
        follows = after_one(*at++);
    } else if (at[1] == 0x38 || at[1] == 0x3a) {
        follows = at[1] == 0x38 ? modrm : modrm | byte1;
        at += 3;
    } else {
        follows = after_two(at[1]);
        at += 2;
    }
    if (follows & unknown) {
        return nullptr;
    }
    if (follows & modrm) {
        const int mode = *at >> 6, base = *at & 7;
        if (follows & group && (*at >> 3 & 7) > 1) {
            follows = modrm;
        }
        ++at;
        if (mode != 3) {
            const bool scaled = base == 4;
            const bool no_base = mode == 0 && (scaled ? (*at & 7) == 5 : base == 5);
            at += scaled + (mode == 1 ? 1 : mode == 2 || no_base ? 4 : 0);
        }
    }
    at += follows & byte1 ? 1 : 0;
    at += follows & byte2 ? 2 : 0;
    at += follows & full ? (short_operand && !wide_operand ? 2 : 4) : 0;
    at += follows & branch ? 4 : 0;
    at += follows & wide ? (wide_operand ? 8 : short_operand ? 2 : 4) : 0;
    return at - begin <= LONGEST ? at : nullptr;
}

}  // namespace instructions
