"use strict";
document.querySelector("form.post").submit();
