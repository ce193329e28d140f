// Shows the picture without the page's scripts, where a browser is too old for them.
setTimeout(function () {
  var plain = document.getElementById("plain");
  if (plain.hidden) return;
  var image = document.createElement("img");
  image.src = "stream";
  image.alt = "Live picture · 실시간 영상";
  plain.appendChild(image);
}, 4000);
