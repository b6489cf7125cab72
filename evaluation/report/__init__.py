"""The report: one self-contained page about what an evaluation found. `page.write_page` makes it."""
