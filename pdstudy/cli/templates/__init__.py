"""Study files to begin with: `pdstudy new` copies one of them under another name. Nothing imports them."""
