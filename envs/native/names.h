// A list of names that Python hands over once: of lanes, loops or signals.
#pragma once

#include <string>
#include <vector>

struct Names {
    std::vector<std::string> list;
};
